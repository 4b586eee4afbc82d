// Node's fetch.
import { answer, IDLE_MS, MEBIBYTE, PIECES, sleep, SMALL, TOO_LARGE } from "./ask.mjs";

async function post(url, body, options = {}) {
    const response = await fetch(url, { method: "POST", body, ...options });
    await response.text();
    return response.status;
}

const stream = (pieces) =>
    new ReadableStream({
        async pull(controller) {
            const piece = pieces.shift();
            if (piece) controller.enqueue(piece);
            else controller.close();
        },
    });

async function abort(url) {
    const stop = new AbortController();
    const slow = new ReadableStream({ start: (controller) => controller.enqueue(Buffer.alloc(1000)) });
    setTimeout(() => stop.abort(), 50);
    const first = await post(url, slow, { duplex: "half", signal: stop.signal }).then(
        () => "answered",
        (error) => (error.name === "AbortError" ? "aborted" : `${error}`),
    );
    return [first, await post(url, "after")];
}

async function reuse(url) {
    const seen = [await post(url, "r1"), await post(url, "r2")];
    await sleep(IDLE_MS);
    return [...seen, await post(url, "r3")];
}

await answer({
    small: async (url) => [await post(url, SMALL)],
    mebibyte: async (url) => [await post(url, MEBIBYTE)],
    too_large: async (url) => [await post(url, TOO_LARGE)],
    chunked: async (url) => [await post(url, stream([...PIECES]), { duplex: "half" })],
    reuse,
    abort,
    parallel: (url) => Promise.all(Array.from({ length: 8 }, () => post(url, "p"))),
});
