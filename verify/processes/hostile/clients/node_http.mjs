// Node's http, by an agent that keeps connections.
import http from "node:http";

import { answer, common, EXPECTED, PIECES, sleep, TOO_LARGE } from "./ask.mjs";

const agent = new http.Agent({ keepAlive: true });

function request(url, headers, send) {
    return new Promise((resolve, reject) => {
        const asked = http.request(url, { method: "POST", agent, headers, timeout: 10_000 }, (response) => {
            response.resume();
            response.on("end", () => resolve(response.statusCode));
            response.on("error", reject);
        });
        asked.on("error", reject);
        asked.on("timeout", () => asked.destroy(new Error("no answer in time")));
        send(asked);
    });
}

const post = (url, body) =>
    request(url, { "content-length": Buffer.byteLength(body) }, (asked) => asked.end(body));

function chunked(url) {
    return request(url, {}, async (asked) => {
        for (const piece of PIECES) {
            asked.write(piece);
            await sleep(5);
        }
        asked.end();
    });
}

async function expect(url, body) {
    let continued = "refused";
    const headers = { expect: "100-continue", "content-length": body.length };
    const status = await request(url, headers, (asked) => {
        asked.on("continue", () => {
            continued = "continued";
            asked.end(body);
        });
        asked.flushHeaders();
    });
    return [continued, status];
}

async function abort(url) {
    const first = await request(url, { "content-length": 2000 }, (asked) => {
        asked.write(Buffer.alloc(1000));
        setTimeout(() => asked.destroy(), 50);
    }).then(
        () => "answered",
        (error) => (error.code === "ECONNRESET" ? "aborted" : `${error}`),
    );
    return [first, await post(url, "after")];
}

await answer({
    ...common(post),
    chunked: async (url) => [await chunked(url)],
    expect: (url) => expect(url, EXPECTED),
    expect_refused: (url) => expect(url, TOO_LARGE),
    abort,
});
