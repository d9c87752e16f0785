/**
 * The device model domain's end of its event channels: 2-level pending and mask bits in its shared_info page. A scan
 * takes each pending port once, masks it while it is served and unmasks it by hypercall afterwards, so that a
 * storm from the guest costs one turn of work at a time.
 * Source: xen/common/event_2l.c for the other end; Linux drivers/xen/events/events_2l.c for this one.
 */
import type { DeviceModelHypercalls } from '../abi/dm-op.ts';
import {
  EVTCHN_2L_NR_CHANNELS,
  SHARED_INFO_EVTCHN_MASK,
  SHARED_INFO_EVTCHN_PENDING,
  VCPU_INFO_PENDING_SEL,
  VCPU_INFO_UPCALL_PENDING,
} from '../abi/event-channel.ts';

/** Serves one port. False: leave it masked; unmask() comes later. */
type PortHandler = (port: number) => boolean;

/** 32-bit words of pending bits per bit of the (64-bit) selector. */
const WORDS_PER_SELECTOR_BIT = 2;

export class EventChannels {
  private readonly words: Int32Array;
  private readonly bytes: Uint8Array;
  private readonly hypercalls: Pick<DeviceModelHypercalls, 'evtchnUnmask' | 'sharedInfo'>;
  private readonly handlers = new Map<number, PortHandler>();

  constructor(memory: ArrayBufferLike, hypercalls: Pick<DeviceModelHypercalls, 'evtchnUnmask' | 'sharedInfo'>) {
    this.words = new Int32Array(memory);
    this.bytes = new Uint8Array(memory);
    this.hypercalls = hypercalls;
  }

  /** Serve this local port from now on. */
  bind(port: number, handler: PortHandler): void {
    if (!(port > 0 && port < EVTCHN_2L_NR_CHANNELS))
      throw new RangeError(`event channel port ${port}: expected 1 to ${EVTCHN_2L_NR_CHANNELS - 1}`);
    this.handlers.set(port, handler);
    this.unmask(port);
  }

  unmask(port: number): void {
    this.hypercalls.evtchnUnmask(port);
  }

  /** Serve every port that is pending now; gives how many were. */
  scan(): number {
    const base = this.hypercalls.sharedInfo;
    if (Atomics.load(this.bytes, base + VCPU_INFO_UPCALL_PENDING) === 0) return 0;
    Atomics.store(this.bytes, base + VCPU_INFO_UPCALL_PENDING, 0);
    let served = 0;
    for (let half = 0; half < 2; half++) {
      let selector = Atomics.exchange(this.words, ((base + VCPU_INFO_PENDING_SEL) >>> 2) + half, 0);
      while (selector !== 0) {
        const bit = 31 - Math.clz32(selector & -selector);
        selector &= selector - 1;
        served += this.scanWords((half * 32 + bit) * WORDS_PER_SELECTOR_BIT);
      }
    }
    return served;
  }

  private scanWords(first: number): number {
    const pendingAt = (this.hypercalls.sharedInfo + SHARED_INFO_EVTCHN_PENDING) >>> 2;
    const maskAt = (this.hypercalls.sharedInfo + SHARED_INFO_EVTCHN_MASK) >>> 2;
    let served = 0;
    for (let word = first; word < first + WORDS_PER_SELECTOR_BIT; word++) {
      let ready = Atomics.load(this.words, pendingAt + word) & ~Atomics.load(this.words, maskAt + word);
      while (ready !== 0) {
        const bit = ready & -ready;
        ready &= ready - 1;
        const port = word * 32 + (31 - Math.clz32(bit));
        Atomics.or(this.words, maskAt + word, bit);
        Atomics.and(this.words, pendingAt + word, ~bit);
        served++;
        const handler = this.handlers.get(port);
        // A port nobody bound stays masked: it cannot come again.
        if (handler?.(port)) this.unmask(port);
      }
    }
    return served;
  }
}
