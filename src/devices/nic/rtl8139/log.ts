/** Lines for register accesses in the form of QEMU's RTL8139 debug log, from the register table. */
import { widthMask, type RegisterDef } from '../../registers.ts';
import { hex } from '../../../base/hex.ts';

const suffixes = ['(b)', '(w)', '', '(l)'];

/**
 * One line for an access that the register file decoded.
 * @param register undefined where nothing decodes
 * @param cplus CpCmd was written: TxStatus means the tally dump
 */
export function accessLine(
  write: boolean,
  register: RegisterDef | undefined,
  offset: number,
  size: number,
  value: number,
  cplus: boolean,
): string {
  const dir = write ? 'write' : 'read';
  if (register === undefined || (register.access === 'none' && register.log === undefined)) {
    const data = write ? ` val=0x${hex(value, size * 2)}` : '';
    return `RTL8139: not implemented ${dir}${suffixes[size - 1]} addr=0x${hex(offset, 1)}${data}`;
  }
  const array = /^(TxStatus|TxAddr)(\d)$/.exec(register.name);
  if (array) {
    const at = `offset=0x${hex(Number(array[2]) * 4, 1)} val=0x${hex(value, 8)}`;
    if (!write)
      return `RTL8139: TxStatus/TxAddr[${array[2]}] read addr=0x${hex(offset, 1)} size=0x${size} val=0x${hex(value, 8)}`;
    if (array[1] === 'TxAddr') return `RTL8139: TxAddr write ${at}`;
    return `RTL8139: ${cplus ? 'RTL8139C+ DTCCR' : 'TxStatus'} write ${at} descriptor=${array[2]}`;
  }
  const form = register.log;
  const digits = (write ? form?.write : (form?.read ?? form?.write)) ?? register.width * 2;
  const shown = size < register.width ? value : value & widthMask(register.width);
  return `RTL8139: ${form?.label ?? register.name} ${dir}${form?.suffix ?? ''} val=0x${hex(shown >>> 0, digits)}`;
}
