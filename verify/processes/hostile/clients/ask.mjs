// Reads `SCENARIO URL` lines and answers each with what the client saw, for clients in Node.
import readline from "node:readline";

const SMALL = Buffer.from("small");
const MEBIBYTE = Buffer.alloc(1 << 20, "m");
export const TOO_LARGE = Buffer.alloc((1 << 20) + 1, "l");
export const EXPECTED = Buffer.alloc(100_000, "e");
export const PIECES = ["ab", "cd", "ef"].map((piece) => Buffer.from(piece));
// Longer than the listener keeps an idle connection.
const IDLE_MS = 2000;

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// The scenarios of any client; `post(url, body)` resolves to the status.
export const common = (post) => ({
    small: async (url) => [await post(url, SMALL)],
    mebibyte: async (url) => [await post(url, MEBIBYTE)],
    too_large: async (url) => [await post(url, TOO_LARGE)],
    async reuse(url) {
        const seen = [await post(url, "r1"), await post(url, "r2")];
        await sleep(IDLE_MS);
        return [...seen, await post(url, "r3")];
    },
    parallel: (url) => Promise.all(Array.from({ length: 8 }, () => post(url, "p"))),
});

export async function answer(scenarios) {
    for await (const line of readline.createInterface({ input: process.stdin })) {
        const [name, url] = line.split(" ");
        let said = { missing: true };
        if (name in scenarios) {
            try {
                said = { seen: (await scenarios[name](url)).join(" ") };
            } catch (error) {
                said = { seen: `${error.name}: ${error.message} ${error.cause ?? ""}` };
            }
        }
        console.log(JSON.stringify(said));
    }
    process.exit(0);
}
