/** The firmware's accesses, each an I/O request along the way the guest's own take: internal handlers, then ioreq servers. */
import { lowBytes } from '../../base/width.ts';
import { IOREQ_READ, IOREQ_WRITE, IoreqType, newIoreq } from '../../abi/ioreq.ts';
import type { Gpa } from '../../base/address.ts';
import { UserError } from '../../base/errors.ts';
import type { Emulator } from '../io/emulate.ts';
import { Emul } from '../io/intercept.ts';
import type { FirmwareIo } from './domain-builder.ts';

/** `emulator`: of the boot vCPU, which must be the one that runs on its pCPU. */
export function firmwareIo(emulator: Pick<Emulator, 'doIo'>): FirmwareIo {
  const access = (type: number, addr: number, size: number, dir: number, value: number): number => {
    const p = newIoreq();
    Object.assign(p, { type, addr, size, dir, count: 1, dataLo: value >>> 0 });
    if (emulator.doIo(p) !== Emul.okay)
      throw new UserError(
        `firmware: the ${dir === IOREQ_WRITE ? 'write' : 'read'} of ${size} bytes at ${type === IoreqType.pio ? 'port' : 'guest-physical'} 0x${addr.toString(16)} was not answered; is the device model running?`,
      );
    return lowBytes(p.dataLo, size);
  };
  return {
    in: (port, size) => access(IoreqType.pio, port, size, IOREQ_READ, 0),
    out: (port, size, value) => void access(IoreqType.pio, port, size, IOREQ_WRITE, value),
    mmioWrite: (address: Gpa, value) => void access(IoreqType.copy, address, 4, IOREQ_WRITE, value),
  };
}
