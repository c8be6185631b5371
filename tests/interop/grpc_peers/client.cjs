// What @grpc/grpc-js gets as a client: every kind of call once, and what came of it as one line of JSON.
//
//   node client.cjs TARGET AUTHORITY CA
"use strict";
const crypto = require("crypto");
const fs = require("fs");
const grpc = require("@grpc/grpc-js");

const [target, authority, ca] = process.argv.slice(2);
const options = {
  "grpc.default_authority": authority,
  "grpc.ssl_target_name_override": authority.split(":")[0],
  "grpc.max_receive_message_length": -1,
  "grpc.max_send_message_length": -1,
};
const client = new grpc.Client(target, grpc.credentials.createSsl(fs.readFileSync(ca)), options);
const same = (value) => value;
const path = (name) => [`/peer.Echo/${name}`, same, same];
const soon = () => ({ deadline: Date.now() + 30_000 });

function unary(name, message, metadata = new grpc.Metadata(), given = soon()) {
  return new Promise((resolve) => {
    const seen = {};
    const call = client.makeUnaryRequest(...path(name), message, metadata, given, (error, answer) => {
      Object.assign(seen, { code: error ? error.code : 0, details: error ? error.details : "", answer });
    });
    seen.call = call;
    call.on("metadata", (initial) => (seen.initial = initial));
    call.on("status", (status) => resolve(Object.assign(seen, { trailing: status.metadata })));
  });
}

function collected(call) {
  return new Promise((resolve) => {
    const messages = [];
    call.on("data", (message) => messages.push(message.toString()));
    call.on("error", () => {});
    call.on("status", ({ code, details }) => resolve({ messages, code, details }));
  });
}

const scenarios = {
  async unary() {
    const { code, answer } = await unary("Unary", Buffer.from("hello"));
    return [code, answer.toString()];
  },
  async metadata() {
    const metadata = new grpc.Metadata();
    metadata.set("x-request", "a value");
    metadata.set("x-octets-bin", Buffer.from([0, 1, 254, 255]));
    const { initial, trailing } = await unary("Unary", Buffer.from(""), metadata);
    return [initial.get("x-initial")[0], [...trailing.get("x-trailing-bin")[0]]];
  },
  async serverStream() {
    return collected(client.makeServerStreamRequest(...path("Numbers"), Buffer.from("5"), soon()));
  },
  async clientStream() {
    return new Promise((resolve) => {
      const call = client.makeClientStreamRequest(...path("Count"), soon(), (error, answer) =>
        resolve(error ? error.details : answer.toString()),
      );
      for (let n = 0; n < 10; n++) call.write(Buffer.alloc(1000));
      call.end();
    });
  },
  async bidirectional() {
    const call = client.makeBidiStreamRequest(...path("Talk"), soon());
    const turns = [];
    call.on("error", () => {});
    const status = new Promise((resolve) => call.on("status", ({ code }) => resolve(code)));
    for (const word of ["one", "two", "three"]) {
      const answered = new Promise((resolve) => call.once("data", (message) => resolve(message.toString())));
      call.write(Buffer.from(word)); // the next only when this has come back
      turns.push(await answered);
    }
    call.end();
    return [turns, await status];
  },
  async refused() {
    const { code, details, trailing } = await unary("Refuse", Buffer.from(""));
    return [code, details, trailing.get("x-why")[0]];
  },
  async deadline() {
    const given = { deadline: Date.now() + 500 };
    return (await collected(client.makeServerStreamRequest(...path("Wait"), Buffer.from(""), given))).code;
  },
  async cancelledByTheServer() {
    const call = client.makeBidiStreamRequest(...path("Cancel"), soon());
    call.write(Buffer.from("one"));
    return collected(call);
  },
  async cancelledByTheClient() {
    const before = Number((await unary("WereCancelled", Buffer.from(""))).answer);
    const call = client.makeServerStreamRequest(...path("Wait"), Buffer.from(""), soon());
    const ended = collected(call);
    await new Promise((resolve) => call.on("metadata", resolve));
    call.cancel();
    const { code } = await ended;
    const until = Date.now() + 20_000;
    while (Number((await unary("WereCancelled", Buffer.from(""))).answer) <= before && Date.now() < until);
    return [code, Number((await unary("WereCancelled", Buffer.from(""))).answer) - before];
  },
  async large() {
    const message = crypto.randomBytes(16 * 1024 * 1024);
    const { answer, details } = await unary("Unary", message);
    return answer ? answer.equals(message) : details;
  },
  async thousand() {
    const calls = Array.from({ length: 1000 }, (_, n) => unary("Unary", Buffer.from(String(n))));
    const answers = await Promise.all(calls);
    const wrong = answers.filter(({ code, answer }, n) => code || answer.toString() !== String(n));
    return wrong.map(({ code, details }) => [code, details]).slice(0, 3);
  },
};

(async () => {
  const seen = {};
  for (const [name, scenario] of Object.entries(scenarios)) {
    seen[name] = await scenario().catch((error) => String(error.stack));
  }
  console.log(JSON.stringify(seen));
  client.close();
})();
