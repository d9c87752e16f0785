/**
 * Packets of GDB's remote serial protocol: `$data#checksum`, acknowledged by `+` or `-`, and the lone byte 0x03 that interrupts a run.
 * Source: the GDB manual, appendix E.
 */

/** Longest packet taken; what a client sends beyond it is refused. */
export const PACKET_SIZE = 0x4000;

export type Packet =
  | { readonly kind: 'packet'; readonly data: string }
  | { readonly kind: 'interrupt' }
  | { readonly kind: 'nak' };

const START = 0x24;
const END = 0x23;
const ESCAPE = 0x7d;
const INTERRUPT = 0x03;
const NAK = 0x2d;

/** Takes bytes apart into packets. A broken one is answered with `-`, one that never ends is dropped. */
export class PacketReader {
  private bytes: number[] = [];
  private inPacket = false;
  private trailer: number[] | undefined;

  /** `reply` sends an acknowledgement; null once the client wants none. */
  *take(input: Uint8Array, reply: ((text: '+' | '-') => void) | null): Generator<Packet> {
    for (const byte of input) {
      if (this.trailer !== undefined) {
        this.trailer.push(byte);
        if (this.trailer.length < 2) continue;
        const expected = Number.parseInt(String.fromCharCode(...this.trailer), 16);
        const sum = this.bytes.reduce((a, b) => (a + b) & 0xff, 0);
        this.trailer = undefined;
        this.inPacket = false;
        const ok = expected === sum;
        reply?.(ok ? '+' : '-');
        if (ok) yield { kind: 'packet', data: unescape(this.bytes) };
      } else if (byte === START) {
        this.bytes = [];
        this.inPacket = true;
      } else if (!this.inPacket) {
        if (byte === INTERRUPT) yield { kind: 'interrupt' };
        else if (byte === NAK) yield { kind: 'nak' };
      } else if (byte === END) this.trailer = [];
      else if (this.bytes.length < PACKET_SIZE) this.bytes.push(byte);
      else this.inPacket = false;
    }
  }
}

function unescape(bytes: readonly number[]): string {
  let text = '';
  for (let i = 0; i < bytes.length; i++)
    text += String.fromCharCode(bytes[i] === ESCAPE && i + 1 < bytes.length ? bytes[++i]! ^ 0x20 : bytes[i]!);
  return text;
}

/** `$data#sum` for text of single bytes. */
export function packet(data: string): string {
  let sum = 0;
  let out = '';
  for (const c of data) {
    const escaped = c === '$' || c === '#' || c === '}' || c === '*' ? `}${String.fromCharCode(c.charCodeAt(0) ^ 0x20)}` : c;
    for (const e of escaped) sum = (sum + e.charCodeAt(0)) & 0xff;
    out += escaped;
  }
  return `$${out}#${sum.toString(16).padStart(2, '0')}`;
}

export const toHex = (bytes: Iterable<number>): string =>
  [...bytes].map((byte) => (byte & 0xff).toString(16).padStart(2, '0')).join('');

/** Bytes of a text of hexadecimal digits; undefined: it is none. */
export function fromHex(text: string): Uint8Array | undefined {
  if (text.length % 2 !== 0 || !/^[0-9a-f]*$/i.test(text)) return undefined;
  return Uint8Array.from({ length: text.length / 2 }, (_, i) => Number.parseInt(text.slice(i * 2, i * 2 + 2), 16));
}
