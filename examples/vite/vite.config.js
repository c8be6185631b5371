import { defineConfig } from "vite";

export default defineConfig({
  server: {
    // Every address, IPv6 included: sandboxes are reached over IPv6.
    host: process.env.HOST || "::",
    port: Number(process.env.PORT || 5173),
    strictPort: true,
    // Vite answers 403 to names it does not know, and tells so. Either the sandboxes' domain is allowed here,
    //   allowedHosts: [".sandbox.example.dev"],
    // or the gateway asks under a name every dev server knows: upstream.host = "localhost:{port}".
  },
});
