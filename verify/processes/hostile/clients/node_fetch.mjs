// Node's fetch.
import { answer, common, PIECES } from "./ask.mjs";

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

await answer({
    ...common(post),
    chunked: async (url) => [await post(url, stream([...PIECES]), { duplex: "half" })],
    abort,
});
