// Keeps the page's own files, so that it opens without a connection. A newer file on the server comes first.
const KEPT = "limelight";

self.addEventListener("install", (event) => {
  const files = ["./", "page.css", "page.js", "worker.js", "facts.json", "model.onnx"];
  const runtime = ["ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"];
  event.waitUntil(caches.open(KEPT).then((cache) => cache.addAll([...files, ...runtime.map((name) => `ort/${name}`)])));
  self.skipWaiting();
});

self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  const own = new URL(event.request.url).origin === self.location.origin;
  if (event.request.method !== "GET" || !own) return event.respondWith(Response.error());
  event.respondWith(
    caches.open(KEPT).then(async (cache) => {
      try {
        const fresh = await fetch(event.request);
        if (fresh.ok) cache.put(event.request, fresh.clone());
        return fresh;
      } catch {
        return (await cache.match(event.request, { ignoreSearch: true })) ?? Response.error();
      }
    }),
  );
});
