/**
 * pcapng writer: section header, Ethernet interfaces with nanosecond timestamps, enhanced packet blocks with
 * direction and comment. Blocks are gathered and handed to a sink in pieces.
 * Source: draft-ietf-opsawg-pcapng (block and option codes).
 */
import type { Clock } from '../base/clock.ts';
import type { FrameDirection } from './hub.ts';

const BLOCK_SECTION_HEADER = 0x0a0d0d0a;
const BLOCK_INTERFACE = 1;
const BLOCK_ENHANCED_PACKET = 6;
const BYTE_ORDER_MAGIC = 0x1a2b3c4d;
const LINKTYPE_ETHERNET = 1;
const OPT_END = 0;
const OPT_COMMENT = 1;
const SHB_USERAPPL = 4;
const IF_NAME = 2;
const IF_TSRESOL = 9;
const EPB_FLAGS = 2;
/** epb_flags, bits 1:0. */
const DIRECTION_FLAG: Record<FrameDirection, number> = { inbound: 1, outbound: 2 };

/** Where finished bytes go; the array is the sink's to keep. */
export type ByteSink = (bytes: Uint8Array) => void;

export interface PcapngOptions {
  readonly clock: Pick<Clock, 'epochUs' | 'nowNs'>;
  /** Names of the interfaces, at least one. */
  readonly interfaces: readonly [string, ...string[]];
  readonly sink: ByteSink;
  /** Bytes gathered before the sink is called. */
  readonly bufferSize?: number;
}

const pad4 = (length: number): number => (length + 3) & ~3;

export class PcapngWriter {
  private readonly clock: Pick<Clock, 'epochUs' | 'nowNs'>;
  private readonly sink: ByteSink;
  private readonly interfaces: readonly string[];
  private readonly encoder = new TextEncoder();
  private buffer: Uint8Array;
  private view: DataView;
  private length = 0;
  private packetCount = 0;
  private interfaceCount = 0;

  constructor(options: PcapngOptions) {
    this.clock = options.clock;
    this.sink = options.sink;
    this.buffer = new Uint8Array(options.bufferSize ?? 64 * 1024);
    this.view = new DataView(this.buffer.buffer);
    this.header();
    this.interfaces = options.interfaces;
    for (const name of options.interfaces) this.addInterface(name);
  }

  get packets(): number {
    return this.packetCount;
  }

  /**
   * Write one frame. The comment, where there is one, names the I/O behind the frame.
   * @param direction as seen from the guest, where it is known
   * @param atNs when it crossed the wire, by the clock; now when left out
   * @param more which interface it crossed, the first one when left out; the length on the wire, where the frame is cut
   */
  write(
    frame: Uint8Array,
    direction: FrameDirection | undefined,
    comment?: string,
    atNs = this.clock.nowNs(),
    more: { readonly interfaceId?: number; readonly wireLength?: number } = {},
  ): void {
    const text = comment === undefined ? undefined : this.encoder.encode(comment).subarray(0, 0xfffc);
    const total = 28 + pad4(frame.length) + (direction === undefined ? 0 : 8) + (text ? 4 + pad4(text.length) : 0) + 4 + 4;
    const start = this.reserve(total);
    let at = start;
    at = this.u32(at, BLOCK_ENHANCED_PACKET);
    at = this.u32(at, total);
    at = this.u32(at, more.interfaceId ?? 0);
    const { high, low } = this.timestamp(atNs);
    at = this.u32(at, high);
    at = this.u32(at, low);
    at = this.u32(at, frame.length);
    at = this.u32(at, more.wireLength ?? frame.length);
    at = this.bytes(at, frame);
    if (direction !== undefined) {
      at = this.optionHeader(at, EPB_FLAGS, 4);
      at = this.u32(at, DIRECTION_FLAG[direction]);
    }
    if (text) {
      at = this.optionHeader(at, OPT_COMMENT, text.length);
      at = this.bytes(at, text);
    }
    at = this.optionHeader(at, OPT_END, 0);
    this.u32(at, total);
    this.packetCount++;
  }

  /** Forget what was not handed out: a machine was restored. `withHeader`: the capture begins anew with its header. */
  restart(withHeader: boolean): void {
    this.length = 0;
    if (!withHeader) return;
    this.header();
    this.interfaceCount = 0;
    for (const name of this.interfaces) this.addInterface(name);
  }

  /** Hand what is gathered to the sink. */
  flush(): void {
    if (this.length === 0) return;
    this.sink(this.buffer.slice(0, this.length));
    this.length = 0;
  }

  /**
   * Nanoseconds since 1970 in two 32-bit halves. The product passes 2^53, so microseconds and the nanoseconds
   * within one are kept apart until the halves are made.
   */
  private timestamp(ns: number): { high: number; low: number } {
    const us = Math.floor(ns / 1000);
    const restNs = Math.floor(ns - us * 1000);
    const totalUs = this.clock.epochUs + us;
    const usHigh = Math.floor(totalUs / 0x10000);
    const lowPart = (totalUs - usHigh * 0x10000) * 1000 + restNs; // < 2^26
    const middle = usHigh * 1000 + Math.floor(lowPart / 0x10000); // in units of 65536 ns, < 2^53
    return { high: Math.floor(middle / 0x10000), low: (middle % 0x10000) * 0x10000 + (lowPart % 0x10000) };
  }

  private header(): void {
    const application = this.encoder.encode('Xenolith');
    const sectionLength = 24 + 4 + pad4(application.length) + 4 + 4;
    let at = this.reserve(sectionLength);
    at = this.u32(at, BLOCK_SECTION_HEADER);
    at = this.u32(at, sectionLength);
    at = this.u32(at, BYTE_ORDER_MAGIC);
    at = this.u32(at, 1); // version 1.0: u16 major 1, u16 minor 0
    at = this.u32(at, 0xffffffff); // section length not given
    at = this.u32(at, 0xffffffff);
    at = this.optionHeader(at, SHB_USERAPPL, application.length);
    at = this.bytes(at, application);
    at = this.optionHeader(at, OPT_END, 0);
    this.u32(at, sectionLength);
  }

  /** Declare an Ethernet interface. @returns its number */
  addInterface(interfaceName: string): number {
    const name = this.encoder.encode(interfaceName);
    const interfaceLength = 16 + 4 + pad4(name.length) + 8 + 4 + 4;
    let at = this.reserve(interfaceLength);
    at = this.u32(at, BLOCK_INTERFACE);
    at = this.u32(at, interfaceLength);
    at = this.u32(at, LINKTYPE_ETHERNET);
    at = this.u32(at, 0); // no snapshot length: whole frames
    at = this.optionHeader(at, IF_NAME, name.length);
    at = this.bytes(at, name);
    at = this.optionHeader(at, IF_TSRESOL, 1);
    at = this.u32(at, 9); // 10^-9 s, padded
    at = this.optionHeader(at, OPT_END, 0);
    this.u32(at, interfaceLength);
    return this.interfaceCount++;
  }

  private reserve(bytes: number): number {
    if (this.length + bytes > this.buffer.length) {
      this.flush();
      if (bytes > this.buffer.length) {
        this.buffer = new Uint8Array(pad4(bytes));
        this.view = new DataView(this.buffer.buffer);
      }
    }
    const start = this.length;
    this.length += bytes;
    return start;
  }

  private u32(at: number, value: number): number {
    this.view.setUint32(at, value, true);
    return at + 4;
  }

  private optionHeader(at: number, code: number, length: number): number {
    this.view.setUint16(at, code, true);
    this.view.setUint16(at + 2, length, true);
    return at + 4;
  }

  private bytes(at: number, bytes: Uint8Array): number {
    this.buffer.set(bytes, at);
    const end = at + bytes.length;
    const padded = at + pad4(bytes.length);
    this.buffer.fill(0, end, padded);
    return padded;
  }
}
