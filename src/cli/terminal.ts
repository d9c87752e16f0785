/** The terminal as the guest's COM1. */
import type { FrameRingProducer } from '../net/frame-ring.ts';

/** Ctrl-]. */
const LEAVE = 0x1d;

/** What is typed goes raw into the ring; Ctrl-] calls `leave`. Gives back how to make the terminal as it was. */
export function attachTerminal(ring: FrameRingProducer, leave: () => void): () => void {
  const { stdin } = process;
  const onData = (data: Buffer): void => {
    if (data.includes(LEAVE)) leave();
    else ring.push(data);
  };
  stdin.setRawMode(true);
  stdin.resume();
  stdin.on('data', onData);
  console.error("xenolith: the terminal is the guest's COM1; Ctrl-] leaves, and shows where the guest is");
  return () => {
    stdin.off('data', onData);
    stdin.setRawMode(false);
    stdin.pause();
  };
}
