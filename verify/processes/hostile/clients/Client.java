// Java's HttpClient: reads `SCENARIO URL` lines and answers each with what the client saw.
import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.stream.Collectors;
import java.util.stream.Stream;

class Client {
    interface Scenario {
        String run(String url) throws Exception;
    }

    // Longer than the listener keeps an idle connection.
    static final long IDLE_MS = 2000;
    static final HttpClient ONE =
            HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
    // What one gets without asking: it tries to go over to HTTP/2 with the first request.
    static final HttpClient TWO = HttpClient.newHttpClient();

    static HttpRequest request(String url, BodyPublisher body, boolean expect) {
        return HttpRequest.newBuilder(URI.create(url)).timeout(Duration.ofSeconds(10))
                .expectContinue(expect).POST(body).build();
    }

    static String post(HttpClient client, String url, byte[] body, boolean expect) throws Exception {
        var asked = request(url, BodyPublishers.ofByteArray(body), expect);
        return "" + client.send(asked, BodyHandlers.ofString()).statusCode();
    }

    static String post(String url, String body) throws Exception {
        return post(ONE, url, body.getBytes(), false);
    }

    static byte[] bytes(int count, char of) {
        byte[] bytes = new byte[count];
        Arrays.fill(bytes, (byte) of);
        return bytes;
    }

    static String chunked(String url) throws Exception {
        var body = BodyPublishers.ofInputStream(() -> new ByteArrayInputStream("abcdef".getBytes()));
        return "" + ONE.send(request(url, body, false), BodyHandlers.ofString()).statusCode();
    }

    static String abort(String url) throws Exception {
        InputStream slow = new InputStream() {
            int left = 1000;

            @Override
            public int read() {
                while (left == 0) {
                    try {
                        Thread.sleep(1000);
                    } catch (InterruptedException e) {
                        return -1;
                    }
                }
                left--;
                return 'x';
            }

            @Override
            public int read(byte[] into, int at, int length) {
                into[at] = (byte) read();
                return 1;
            }
        };
        var asked = ONE.sendAsync(request(url, BodyPublishers.ofInputStream(() -> slow), false),
                BodyHandlers.ofString());
        Thread.sleep(100);
        asked.cancel(true);
        String first = asked.handle((response, e) -> e != null ? "aborted " : "answered ").join();
        return first + post(url, "after");
    }

    static String reuse(String url) throws Exception {
        String seen = post(url, "r1") + " " + post(url, "r2");
        Thread.sleep(IDLE_MS);
        return seen + " " + post(url, "r3");
    }

    static String parallel(String url) {
        var asked = Stream.generate(() -> ONE.sendAsync(
                request(url, BodyPublishers.ofString("p"), false), BodyHandlers.ofString()));
        return asked.limit(8).collect(Collectors.toList()).stream().map(CompletableFuture::join)
                .map(response -> "" + response.statusCode()).collect(Collectors.joining(" "));
    }

    public static void main(String[] args) throws Exception {
        Map<String, Scenario> scenarios = new LinkedHashMap<>();
        scenarios.put("small", url -> post(url, "small"));
        scenarios.put("upgrade", url -> post(TWO, url, "small".getBytes(), false));
        scenarios.put("mebibyte", url -> post(ONE, url, bytes(1 << 20, 'm'), false));
        scenarios.put("too_large", url -> post(ONE, url, bytes((1 << 20) + 1, 'l'), false));
        scenarios.put("chunked", Client::chunked);
        scenarios.put("expect", url -> post(ONE, url, bytes(100_000, 'e'), true));
        scenarios.put("reuse", Client::reuse);
        scenarios.put("abort", Client::abort);
        scenarios.put("parallel", Client::parallel);
        var lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] words = line.split(" ");
            Scenario scenario = scenarios.get(words[0]);
            if (scenario == null) {
                System.out.println("{\"missing\": true}");
                continue;
            }
            String seen;
            try {
                seen = scenario.run(words[1]);
            } catch (Exception e) {
                seen = e.toString().replaceAll("[\"\\\\\n]", "'");
            }
            System.out.println("{\"seen\": \"" + seen + "\"}");
        }
        System.exit(0);
    }
}
