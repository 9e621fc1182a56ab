// Runs the network off the page's own thread, so that the page stays alive.
import * as ort from "./ort/ort.wasm.min.mjs";

ort.env.wasm.wasmPaths = new URL("./ort/", import.meta.url).href;
ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency, 8) : 1;
let session = null;

async function load() {
  const reply = await fetch("model.onnx");
  if (!reply.ok) throw new Error(`model.onnx can't be loaded (${reply.status}).`);
  session = await ort.InferenceSession.create(new Uint8Array(await reply.arrayBuffer()), { executionProviders: ["wasm"] });
  return {};
}

async function explain({ pixels, width, height, index }) {
  const feeds = { pixels: new ort.Tensor("uint8", pixels, [height, width, 3]) };
  if (session.inputNames.includes("class_index")) {
    feeds.class_index = new ort.Tensor("int64", BigInt64Array.of(BigInt(index)), [1]);
  }
  const start = performance.now();
  const { scores, classes, map, box } = await session.run(feeds, ["scores", "classes", "map", "box"]);
  return { box: Array.from(box.data), scores: scores.data, classes: Array.from(classes.data, Number), map: map.data, milliseconds: performance.now() - start };
}

self.onmessage = async ({ data: { id, ...message } }) => {
  try {
    self.postMessage({ id, ...(await (message.load ? load() : explain(message))) });
  } catch (error) {
    self.postMessage({ id, error: error.message ?? String(error) });
  }
};
