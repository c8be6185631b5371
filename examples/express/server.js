// Express on port 3000. "::" is every address, IPv6 first: what a gateway that dials over IPv6 can reach.
"use strict";

const express = require("express");

const app = express();
const host = process.env.HOST || "::";
const port = Number(process.env.PORT || 3000);

app.get("/", (req, res) => {
  res.type("text/plain").send("Hello from Express");
});

app.post("/echo", (req, res) => {
  res.type(req.get("content-type") || "application/octet-stream");
  req.pipe(res);
});

app.listen(port, host, (error) => {
  if (error) throw error;
  console.log(`Express listens on [${host}]:${port}`);
});
