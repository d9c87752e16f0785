/**
 * The chip's debug lines as data: QEMU's rtl8139 (DEBUG_RTL8139) word for word, written by the chip and read by its reading. Lines
 * for register accesses take their labels and widths from the register table.
 */
import { hex } from '../../../base/hex.ts';
import { plain, readerBehind } from '../../../base/log-line.ts';
import type { DebugLog } from '../../interfaces.ts';
import { widthMask, type RegisterDef } from '../../registers.ts';

const QEMU = 'QEMU up to 10.1, DEBUG_RTL8139';
const OLD = 'qemu-dm and QEMU up to 0.14';

export const lines = {
  notImplementedRead: plain(QEMU, 'RTL8139: not implemented read{suffix:s} addr=0x{addr:x}'),
  notImplementedWrite: plain(QEMU, 'RTL8139: not implemented write{suffix:s} addr=0x{addr:x} val=0x{value:h}'),
  arrayRead: plain(QEMU, 'RTL8139: TxStatus/TxAddr[{n:d}] read addr=0x{addr:x} size=0x{size:d} val=0x{value:x8}'),
  statusWrite: plain(QEMU, 'RTL8139: {label:l} write offset=0x{offset:x} val=0x{value:x8} descriptor={n:d}'),
  addressWrite: plain(QEMU, 'RTL8139: TxAddr write offset=0x{offset:x} val=0x{value:x8}'),
  registerRead: plain(QEMU, 'RTL8139: {label:l} read{suffix:s} val=0x{value:h}'),
  registerWrite: plain(QEMU, 'RTL8139: {label:l} write{suffix:s} val=0x{value:h}'),
  setIrq: plain(QEMU, 'RTL8139: Set IRQ to {level:d} ({status:x4} {mask:x4})'),
  pollHigh: plain(QEMU, 'RTL8139: C+ TxPoll high priority transmission (not implemented)'),
  pollNormal: plain(QEMU, 'RTL8139: C+ TxPoll normal priority transmission'),
  received: plain(QEMU, 'RTL8139: >>> received len={length:d}'),
  receiverDisabled: plain(QEMU, 'RTL8139: receiver disabled ================'),
  overflow: plain(
    QEMU,
    'RTL8139: rx overflow: rx buffer length {bytes:d} head 0x{head:x4} read 0x{read:x4} === available 0x{available:x4} need 0x{need:x4}',
  ),
  ringReceived: plain(QEMU, 'RTL8139: received: rx buffer length {bytes:d} head 0x{head:x4} read 0x{read:x4}'),
  cannotDisabled: plain(QEMU, 'RTL8139: +++ cannot transmit from descriptor {n:d}: transmitter disabled'),
  cannotOwned: plain(QEMU, 'RTL8139: +++ cannot transmit from descriptor {n:d}: owned by host ({status:x8})'),
  fetch: plain(QEMU, 'RTL8139: +++ transmit reading {bytes:d} bytes from host memory at 0x{gpa:x8}', {
    by: OLD,
    text: 'RTL8139: +++ transmit reading {bytes:d} bytes from host memory at {gpa:x8}',
  }),
  transmitted: plain(QEMU, 'RTL8139: +++ transmitted {bytes:d} bytes from descriptor {n:d}'),
  cplusStalled: plain(QEMU, 'RTL8139: C+ mode : transmitter queue stalled, current TxDesc = {n:d}'),
  cplusDisabled: plain(QEMU, 'RTL8139: +++ C+ mode: transmitter disabled'),
  cplusTxAt: plain(QEMU, 'RTL8139: +++ C+ mode reading TX descriptor {n:d} from host memory at {high:x8} {low:x8} = 0x{gpa:x8}', {
    by: OLD,
    text: 'RTL8139: +++ C+ mode reading TX descriptor {n:d} from host memory at {high:x8} {low:x8} = {gpa:x8}',
  }),
  cplusTx: plain(QEMU, 'RTL8139: +++ C+ mode TX descriptor {n:d} {word0:x8} {word1:x8} {word2:x8} {word3:x8}'),
  cplusTxOwned: plain(QEMU, 'RTL8139: C+ Tx mode : descriptor {n:d} is owned by host'),
  cplusTxBegins: plain(QEMU, 'RTL8139: +++ C+ Tx mode : transmitting from descriptor {n:d}'),
  cplusTxFirst: plain(QEMU, 'RTL8139: +++ C+ Tx mode : descriptor {n:d} is first segment descriptor'),
  cplusFetch: plain(
    QEMU,
    'RTL8139: +++ C+ mode transmit reading {bytes:d} bytes from host memory at {gpa:x8} to offset {offset:d}',
    {
      by: OLD,
      text: 'RTL8139: +++ C+ mode transmit reading {bytes:d} bytes from host memory at 0x{gpa:x8} to offset {offset:d}',
    },
  ),
  cplusTxLast: plain(QEMU, 'RTL8139: +++ C+ Tx mode : descriptor {n:d} is last segment descriptor'),
  cplusTxGoesOn: plain(QEMU, 'RTL8139: +++ C+ mode transmission continue to next descriptor'),
  cplusSent: plain(QEMU, 'RTL8139: +++ C+ mode transmitting {bytes:d} bytes packet'),
  cplusRxAt: plain(QEMU, 'RTL8139: +++ C+ mode reading RX descriptor {n:d} from host memory at {high:x8} {low:x8} = {gpa:x8}'),
  cplusRx: plain(QEMU, 'RTL8139: +++ C+ mode RX descriptor {n:d} {word0:x8} {word1:x8} {word2:x8} {word3:x8}'),
  cplusRxSmall: plain(QEMU, 'RTL8139: C+ Rx mode : descriptor {n:d} size {size:d} received {bytes:d} + 4'),
  cplusRxOwned: plain(QEMU, 'RTL8139: C+ Rx mode : descriptor {n:d} is owned by host'),
} as const;

/** Reads a line's text without the chip's name. */
export const readLine = readerBehind('RTL8139: ');

const suffixes = ['(b)', '(w)', '', '(l)'];

/**
 * Puts the line for an access that the register file decoded.
 * @param register undefined where nothing decodes
 * @param cplus CpCmd was written: TxStatus means the tally dump
 */
export function putAccess(
  log: DebugLog,
  write: boolean,
  register: RegisterDef | undefined,
  offset: number,
  size: number,
  value: number,
  cplus: boolean,
): void {
  if (register === undefined || (register.access === 'none' && register.log === undefined)) {
    const fields = { suffix: suffixes[size - 1]!, addr: offset };
    if (write) log(lines.notImplementedWrite, { ...fields, value: hex(value, size * 2) });
    else log(lines.notImplementedRead, fields);
    return;
  }
  const array = /^(TxStatus|TxAddr)(\d)$/.exec(register.name);
  if (array) {
    const n = Number(array[2]);
    if (!write) log(lines.arrayRead, { n, addr: offset, size, value });
    else if (array[1] === 'TxAddr') log(lines.addressWrite, { offset: n * 4, value });
    else log(lines.statusWrite, { label: cplus ? 'RTL8139C+ DTCCR' : 'TxStatus', offset: n * 4, value, n });
    return;
  }
  const form = register.log;
  const digits = (write ? form?.write : (form?.read ?? form?.write)) ?? register.width * 2;
  const shown = size < register.width ? value : value & widthMask(register.width);
  const fields = { label: form?.label ?? register.name, suffix: form?.suffix ?? '', value: hex(shown >>> 0, digits) };
  if (write) log(lines.registerWrite, fields);
  else log(lines.registerRead, fields);
}
