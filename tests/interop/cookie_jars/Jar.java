import java.net.CookieManager;
import java.net.URI;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Scanner;

/** See __init__.py: what java.net.CookieManager makes of each line's fields, as HttpURLConnection and HttpClient use it. */
class Jar {
    public static void main(String[] arguments) throws Exception {
        URI origin = URI.create("https://" + arguments[0] + "/");
        Scanner lines = new Scanner(System.in, "ISO-8859-1").useDelimiter("\n");
        for (int number = 0; lines.hasNext(); number++) {
            CookieManager jar = new CookieManager();
            String[] field = lines.next().split(": ", 2);
            try {
                jar.put(origin, Map.of(field[0], List.of(field[1])));
            } catch (IllegalArgumentException refused) {
                continue;
            }
            for (String neighbour : Arrays.copyOfRange(arguments, 1, arguments.length)) {
                List<String> sent = jar.get(URI.create("https://" + neighbour + "/"), Map.of()).get("Cookie");
                if (sent != null && !sent.isEmpty()) {
                    System.out.println(number);
                    break;
                }
            }
        }
    }
}
