import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.Map;
import java.util.TreeMap;

/**
 * Answers what an article costs: GET /apple. Reads prices.csv of the shared directory once, listens on
 * PORT, and says in catalogue.address that it does. Ends, like every JVM, on SIGTERM.
 */
public class Catalogue {
    private static final Path SHARED = Path.of(System.getenv().getOrDefault("TITAN_SHARED", "."));
    private static final int PORT = Integer.parseInt(System.getenv().getOrDefault("PORT", "8610"));

    private final Map<String, String> prices = new TreeMap<>();

    Catalogue() throws IOException {
        for (String line : Files.readAllLines(SHARED.resolve("prices.csv"))) {
            String[] fields = line.strip().split(",");
            prices.put(fields[0], fields[1]);
        }
    }

    void serve() throws IOException {
        InetSocketAddress address = new InetSocketAddress(InetAddress.getLoopbackAddress(), PORT);
        HttpServer server = HttpServer.create(address, 0);
        server.createContext("/", this::answer);
        server.start();
        announce("127.0.0.1 " + server.getAddress().getPort());
        System.out.println(prices.size() + " articles on port " + server.getAddress().getPort());
        Runtime.getRuntime().addShutdownHook(new Thread(() -> System.out.println("told to stop")));
    }

    /** Whoever finds the file finds it whole. */
    private static void announce(String address) throws IOException {
        Path draft = SHARED.resolve("catalogue.address.new");
        Files.writeString(draft, address + "\n");
        Files.move(draft, SHARED.resolve("catalogue.address"), StandardCopyOption.ATOMIC_MOVE);
    }

    private void answer(HttpExchange exchange) throws IOException {
        String price = prices.get(exchange.getRequestURI().getPath().substring(1));
        byte[] body = ((price == null ? "no such article" : price) + "\n").getBytes(StandardCharsets.UTF_8);
        exchange.sendResponseHeaders(price == null ? 404 : 200, body.length);
        exchange.getResponseBody().write(body);
        exchange.close();
    }

    public static void main(String[] arguments) throws IOException {
        new Catalogue().serve();
    }
}
