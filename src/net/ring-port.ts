/**
 * A hub port whose party is on another thread: frames for it go into one ring, frames from it come out of another.
 */
import type { FrameRingProducer, FrameSource } from './frame-ring.ts';
import type { Hub, HubPort, NetPort } from './hub.ts';

export class RingPort implements NetPort {
  readonly name: string;
  private readonly out: FrameRingProducer | undefined;
  private readonly in: FrameSource;
  private readonly port: HubPort;
  /** Frames the other thread had no room for. */
  drops = 0;

  /** `out` undefined: nobody is there, and what is sent is gone. */
  constructor(name: string, hub: Hub, out: FrameRingProducer | undefined, incoming: FrameSource) {
    this.name = name;
    this.out = out;
    this.in = incoming;
    this.port = hub.attach(this);
  }

  /** Always takes the frame: a wire has no flow control, so a frame the other thread has no room for is lost and counted. */
  receive(frame: Uint8Array): boolean {
    if (this.out === undefined || this.out.push(frame)) return true;
    this.out.countDrop();
    this.drops++;
    return true;
  }

  /** Put frames that have come in onto the hub, at most `limit`. Gives how many. */
  poll(limit = 64): number {
    let count = 0;
    for (let frame = this.in.peek(); frame !== undefined && count < limit; frame = this.in.peek()) {
      this.port.send(frame);
      this.in.advance();
      count++;
    }
    return count;
  }

  get idle(): boolean {
    return this.in.empty;
  }
}
