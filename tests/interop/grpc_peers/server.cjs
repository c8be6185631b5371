// The JavaScript half of tests.interop.grpc_peers: the echo service of server.py on @grpc/grpc-js.
"use strict";
const grpc = require("@grpc/grpc-js");

const octets = { serialize: (value) => value, deserialize: (value) => value };
const method = (name, requestStream, responseStream) => ({
  path: `/peer.Echo/${name}`,
  requestStream,
  responseStream,
  requestSerialize: octets.serialize,
  requestDeserialize: octets.deserialize,
  responseSerialize: octets.serialize,
  responseDeserialize: octets.deserialize,
});
let cancelled = 0;

const service = {
  Unary: method("Unary", false, false),
  Numbers: method("Numbers", false, true),
  Count: method("Count", true, false),
  Talk: method("Talk", true, true),
  Refuse: method("Refuse", false, false),
  Cancel: method("Cancel", true, true),
  Wait: method("Wait", false, true),
  WereCancelled: method("WereCancelled", false, false),
  Die: method("Die", false, true),
};

const numbers = async (call) => {
  for (let number = 0; number < Number(call.request); number++) call.write(Buffer.from(String(number)));
};

const echo = {
  Unary(call, done) {
    const [request] = call.metadata.get("x-request");
    if (request === undefined) return done(null, call.request);
    const initial = new grpc.Metadata();
    initial.set("x-initial", request);
    call.sendMetadata(initial);
    const trailing = new grpc.Metadata();
    trailing.set("x-trailing-bin", call.metadata.get("x-octets-bin")[0]);
    done(null, call.request, trailing);
  },
  Numbers(call) {
    numbers(call);
    call.end();
  },
  Count(call, done) {
    let [count, total] = [0, 0];
    call.on("data", (message) => {
      count += 1;
      total += message.length;
    });
    call.on("end", () => done(null, Buffer.from(`${count} messages, ${total} octets`)));
  },
  Talk(call) {
    call.on("data", (message) => call.write(message));
    call.on("end", () => call.end());
  },
  Refuse(_call, done) {
    const metadata = new grpc.Metadata();
    metadata.set("x-why", "closed");
    done({ code: grpc.status.FAILED_PRECONDITION, details: "not today, café", metadata });
  },
  Cancel(call) {
    call.once("data", (message) => {
      call.write(message);
      call.emit("error", { code: grpc.status.CANCELLED, details: "the server has had enough" });
    });
  },
  Wait(call) {
    const initial = new grpc.Metadata();
    const deadline = call.getDeadline();
    initial.set("x-left", String((deadline - Date.now()) / 1000));
    call.sendMetadata(initial);
    call.on("cancelled", () => {
      cancelled += 1;
    });
  },
  WereCancelled(_call, done) {
    done(null, Buffer.from(String(cancelled)));
  },
  Die(call) {
    numbers(call);
    setTimeout(() => process.kill(process.pid, "SIGKILL"), 200); // once what was written has left
  },
};

const server = new grpc.Server({ "grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1 });
server.addService(service, echo);
server.bindAsync(`[::]:${process.env.PORT}`, grpc.ServerCredentials.createInsecure(), (error) => {
  if (error) throw error;
});
process.on("SIGTERM", () => process.exit(0));
