/** The tiny guest's data page: descriptor tables, strings and frame templates, each at an address the program uses. */
import { NIC_VECTOR, TinyGuest, variables } from './layout.ts';

const HANDLER_SIZE = 0x80;
export const nicHandlerAt = TinyGuest.handlers;
export const spuriousHandlerAt = TinyGuest.handlers + HANDLER_SIZE;
export const faultHandlerAt = TinyGuest.handlers + 2 * HANDLER_SIZE;

/** Ethernet and ARP request for 10.0.2.2 from 10.0.2.15; the MAC is filled in by the program. */
const arp = (operation: number): number[] => [
  ...Array<number>(6).fill(operation === 1 ? 0xff : 0),
  0,
  0,
  0,
  0,
  0,
  0,
  0x08,
  0x06,
  0,
  1,
  0x08,
  0,
  6,
  4,
  0,
  operation,
  0,
  0,
  0,
  0,
  0,
  0,
  10,
  0,
  2,
  15,
  0,
  0,
  0,
  0,
  0,
  0,
  10,
  0,
  2,
  2,
  ...Array<number>(18).fill(0),
];

/** IPv4 and ICMP echo request with 56 bytes of data; the ICMP checksum is the program's work. */
function echo(): number[] {
  const ip = [0x45, 0, 0, 84, 0, 0, 0x40, 0, 64, 1, 0, 0, 10, 0, 2, 15, 10, 0, 2, 2];
  let sum = 0;
  for (let i = 0; i < 20; i += 2) sum += (ip[i]! << 8) | ip[i + 1]!;
  sum = ~((sum & 0xffff) + (sum >> 16)) & 0xffff;
  ip[10] = sum >> 8;
  ip[11] = sum & 0xff;
  const icmp = [8, 0, 0, 0, 0x58, 0x4c, 0, 0, ...Array.from({ length: 56 }, (_, i) => i)];
  return [...Array<number>(12).fill(0), 0x08, 0, ...ip, ...icmp];
}

const text = (value: string): number[] => [...new TextEncoder().encode(value), 0];

/** Interrupt gate for a handler in segment 8 (SDM vol. 3A, figure 6-8). */
const gate = (handler: number): number[] => [
  handler & 0xff,
  (handler >> 8) & 0xff,
  8,
  0,
  0,
  0x8e,
  (handler >> 16) & 0xff,
  handler >>> 24,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
];

const items = {
  gdt: [0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0x9a, 0xaf, 0, 0xff, 0xff, 0, 0, 0, 0x92, 0xcf, 0],
  idt: Array.from({ length: 256 }, (_, vector) =>
    vector < 32 ? gate(faultHandlerAt) : vector === NIC_VECTOR ? gate(nicHandlerAt) : gate(spuriousHandlerAt),
  ).flat(),
  gdtr: [] as number[],
  idtr: [] as number[],
  arpRequest: arp(1),
  arpAnswer: arp(2).map((byte, i) => (i >= 28 && i < 32 ? [10, 0, 2, 15][i - 28]! : byte)),
  echoRequest: echo(),
  digits: text('0123456789abcdef'),
  banner: text('tiny guest: long mode\n'),
  noNic: text('tiny guest: no RTL8139 on bus 0\n'),
  nicAt: text('RTL8139 at 00:'),
  registersAt: text('.0, registers at 0x'),
  gsiIs: text(', interrupt GSI '),
  pingLine: text('PING 10.0.2.2 (10.0.2.2): 56 data bytes\n'),
  replyLine: text('64 bytes from 10.0.2.2: seq='),
  transmitted: text(' packets transmitted, '),
  received: text(' packets received\n'),
  answering: text('tiny guest: 10.0.2.2 answers echo requests\n'),
  answered: text(' echo requests answered\n'),
  bufferedDone: text('tiny guest: writes to 0xb8000 done\n'),
  barDone: text('tiny guest: write to the NIC done\n'),
  exitsDone: text('tiny guest: reads of the NIC done\n'),
  fault: text('tiny guest: exception\n'),
};

export type DataSymbols = Readonly<Record<keyof typeof items, number>>;

/** Lay the items out after the variables. Gives the page's bytes and where each item lies. */
export function layOutData(): { bytes: Uint8Array; symbols: DataSymbols } {
  const bytes = new Uint8Array(TinyGuest.dataSize);
  const symbols = {} as Record<keyof typeof items, number>;
  let at = (Math.max(...Object.values(variables)) + 4 + 15) & ~15;
  for (const name of Object.keys(items) as (keyof typeof items)[]) {
    symbols[name] = TinyGuest.data + at;
    const size = name === 'gdtr' || name === 'idtr' ? 10 : items[name].length;
    bytes.set(items[name], at);
    at = (at + size + 15) & ~15;
    if (at > bytes.length) throw new Error(`tiny guest: data takes more than ${bytes.length} bytes`);
  }
  const view = new DataView(bytes.buffer);
  const table = (register: number, base: number, size: number): void => {
    view.setUint16(register - TinyGuest.data, size - 1, true);
    view.setUint32(register - TinyGuest.data + 2, base, true);
  };
  table(symbols.gdtr, symbols.gdt, items.gdt.length);
  table(symbols.idtr, symbols.idt, items.idt.length);
  return { bytes, symbols };
}
