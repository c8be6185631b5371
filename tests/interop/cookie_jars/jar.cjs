// See __init__.py: what tough-cookie makes of each line's field, in its strict form and in the one that forgives, of
// Latin-1 as Node reads it and of UTF-8.
const { CookieJar } = require(process.argv[2]);
const [origin, ...neighbours] = process.argv.slice(3).map((host) => `https://${host}/`);
const octets = require("fs").readFileSync(0, "latin1").split("\n").slice(0, -1);

function leaks(value, looseMode) {
  const jar = new CookieJar(undefined, { looseMode, rejectPublicSuffixes: false });
  try {
    jar.setCookieSync(value, origin);
  } catch {
    return false; // it refuses the cookie, or cannot make a name of its Domain
  }
  return neighbours.some((neighbour) => jar.getCookieStringSync(neighbour));
}

octets.forEach((line, number) => {
  for (const read of [line, Buffer.from(line, "latin1").toString()]) {
    const [name, value] = read.split(/: (.*)/s);
    if (name.toLowerCase() === "set-cookie" && (leaks(value, false) || leaks(value, true))) {
      console.log(number);
      return;
    }
  }
});
