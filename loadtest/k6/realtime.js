// Calls to the agent `loopback`, checked by k6: a second opinion on `python -m loadtest smoke`.
//
//   k6 run -e URL=ws://127.0.0.1:8080/v1/realtime -e CALLS=20 -e SECONDS=10 loadtest/k6/realtime.js
//
// Each call appends 20 ms of audio every 20 ms. What comes back must be that audio, in order, and event
// ids must count up by one. A threshold that is missed makes k6 exit with 99.

import { WebSocket } from "k6/experimental/websockets";
import encoding from "k6/encoding";
import { Counter, Trend } from "k6/metrics";

const CALLS = Number(__ENV.CALLS || 20);
const SECONDS = Number(__ENV.SECONDS || 10);
const URL = `${__ENV.URL || "ws://127.0.0.1:8080/v1/realtime"}?model=loopback`;
const FRAME_MS = 20;
const FRAME_BYTES = 960;
const LAST_ECHO_MS = 1000;

const echo = new Trend("echo_ms", true);
const frames = new Counter("frames");
const wrong = new Counter("wrong_frames");
const outOfOrder = new Counter("events_out_of_order");
const missing = new Counter("missing_frames");

export const options = {
  scenarios: {
    calls: {
      executor: "per-vu-iterations",
      vus: CALLS,
      iterations: 1,
      maxDuration: `${SECONDS + 30}s`,
    },
  },
  thresholds: {
    echo_ms: ["p(99)<500"],
    frames: [`count>${Math.floor(0.8 * CALLS * SECONDS * (1000 / FRAME_MS))}`],
    wrong_frames: ["count==0"],
    events_out_of_order: ["count==0"],
    missing_frames: ["count==0"],
  },
};

// The frame's number in its first four bytes, then a ramp that differs from call to call.
function frame(number) {
  const samples = new Uint8Array(FRAME_BYTES);
  new DataView(samples.buffer).setUint32(0, number, true);
  for (let at = 4; at < FRAME_BYTES; at++) samples[at] = (at * 7 + number + __VU) & 0xff;
  return encoding.b64encode(samples.buffer);
}

export default function () {
  const headers = __ENV.API_KEY ? { Authorization: `Bearer ${__ENV.API_KEY}` } : {};
  const socket = new WebSocket(URL, null, { headers });
  const waiting = [];
  let said = 0;
  let seen = 0;
  let timer = null;

  socket.onopen = () => {
    timer = setInterval(() => {
      const audio = frame(said++);
      waiting.push({ audio, at: Date.now() });
      socket.send(JSON.stringify({ type: "input_audio_buffer.append", audio }));
    }, FRAME_MS);
    setTimeout(() => {
      clearInterval(timer);
      setTimeout(() => socket.close(1000), LAST_ECHO_MS);
    }, SECONDS * 1000);
  };

  socket.onmessage = (message) => {
    const event = JSON.parse(message.data);
    if (event.type === "session.created") return;
    const number = Number(event.event_id.slice("evt_".length));
    outOfOrder.add(number === seen + 1 ? 0 : 1);
    seen = number;
    if (event.type !== "response.output_audio.delta") return;
    const due = waiting.shift();
    frames.add(1);
    wrong.add(due && due.audio === event.delta ? 0 : 1);
    if (due) echo.add(Date.now() - due.at);
  };

  socket.onclose = () => {
    clearInterval(timer);
    missing.add(waiting.length);
  };

  socket.onerror = (failure) => {
    clearInterval(timer);
    missing.add(Math.max(1, waiting.length));
    console.error(failure.error);
  };
}
