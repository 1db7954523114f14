// What every Node client is told, and how it tells what it saw: as scenario.py.
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

export const given = JSON.parse(process.argv[2]);
export const seen = { said: '', heard: '', audio_bytes: 0, tool_arguments: null, after: '', errors: [] };

const BYTES_PER_S = 48_000;
const CHUNK_BYTES = BYTES_PER_S / 50;
const LIMIT_MS = 55_000;
export const INTERRUPT_AFTER_BYTES = BYTES_PER_S;

/**
 * What the caller says, in pieces of 20 ms at the pace of speech, with the silence after it that ends the turn.
 * A burst would be answered before the client knows of any speech.
 */
export async function* asSpoken() {
  const file = readFileSync(given.speech);
  const samples = file.subarray(file.indexOf('data') + 8);
  const pcm = Buffer.concat([samples, Buffer.alloc(2 * BYTES_PER_S)]);
  for (let at = 0; at + CHUNK_BYTES <= pcm.length; at += CHUNK_BYTES) {
    yield pcm.subarray(at, at + CHUNK_BYTES);
    await sleep(1000 * CHUNK_BYTES / BYTES_PER_S);
  }
}

/** Runs a program to its end and prints what was seen, also when it fails. */
export async function run(talk) {
  const limit = setTimeout(() => finish(new Error('timed out')), LIMIT_MS);
  try {
    await talk();
    clearTimeout(limit);
    finish();
  } catch (error) {
    finish(error);
  }
}

function finish(error) {
  if (error) console.error(error);
  process.stdout.write(JSON.stringify(seen) + '\n', () => process.exit(error ? 1 : 0));
}
