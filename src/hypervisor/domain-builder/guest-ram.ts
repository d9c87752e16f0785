/** Guest memory as the domain builder fills it: by guest-physical address, through the p2m. */
import { type Gpa, gpa, PAGE_SIZE } from '../../base/address.ts';
import type { MachineMemory } from '../mm/memory.ts';
import type { P2m } from '../mm/p2m.ts';

export class GuestRam {
  private readonly memory: MachineMemory;
  private readonly p2m: Pick<P2m, 'ramAddress'>;

  constructor(memory: MachineMemory, p2m: Pick<P2m, 'ramAddress'>) {
    this.memory = memory;
    this.p2m = p2m;
  }

  /** Copy bytes to guest memory. Throws when some of it is not RAM. */
  write(address: Gpa, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; ) {
      const at = address + done;
      const chunk = Math.min(bytes.length - done, PAGE_SIZE - (at % PAGE_SIZE));
      this.memory.u8.set(bytes.subarray(done, done + chunk), this.ram(gpa(at)));
      done += chunk;
    }
  }

  /** Bytes of guest memory. Throws when some of it is not RAM. */
  read(address: Gpa, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    for (let done = 0; done < length; ) {
      const at = address + done;
      const chunk = Math.min(length - done, PAGE_SIZE - (at % PAGE_SIZE));
      const ram = this.ram(gpa(at));
      bytes.set(this.memory.u8.subarray(ram, ram + chunk), done);
      done += chunk;
    }
    return bytes;
  }

  private ram(address: Gpa): number {
    const ram = this.p2m.ramAddress(address);
    if (ram < 0) throw new Error(`domain builder: no RAM at guest-physical 0x${address.toString(16)}`);
    return ram;
  }
}
