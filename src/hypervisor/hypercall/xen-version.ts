/** xen_version (hypercall 17). Structures: public/version.h. Every string goes out in its full, zero-padded length. */
import { PAGE_SIZE } from '../../base/address.ts';
import { EFAULT, EINVAL, ENOSYS } from '../../abi/errno.ts';
import type { HypercallContext } from './context.ts';

export const XEN_MAJOR = 4;
export const XEN_MINOR = 17;

const XENVER = {
  version: 0,
  extraversion: 1,
  compileInfo: 2,
  capabilities: 3,
  changeset: 4,
  platformParameters: 5,
  getFeatures: 6,
  pagesize: 7,
  guestHandle: 8,
  commandline: 9,
} as const;

/**
 * XENFEAT_* of submap 0 that an HVM guest sees: writable_page_tables, auto_translated_physmap, hvm_callback_vector,
 * hvm_safe_pvclock, memory_op_vnode_supported, not_direct_mapped. hvm_pirqs (10) is hidden: interrupts of emulated
 * devices then go by INTx, IO-APIC and local APIC.
 */
const FEATURES = (1 << 0) | (1 << 2) | (1 << 8) | (1 << 9) | (1 << 13) | (1 << 16);

export function xenVersion(call: HypercallContext): number {
  const address = call.pointer(1);
  const text = (fields: readonly (readonly [string, number])[]): number => {
    const bytes = new Uint8Array(fields.reduce((sum, [, size]) => sum + size, 0));
    let at = 0;
    for (const [value, size] of fields) {
      for (let i = 0; i < Math.min(value.length, size - 1); i++) bytes[at + i] = value.charCodeAt(i);
      at += size;
    }
    return call.writeBytes(address, bytes) ? 0 : -EFAULT;
  };
  switch (call.arg(0)) {
    case XENVER.version:
      return (XEN_MAJOR << 16) | XEN_MINOR;
    case XENVER.extraversion:
      return text([['.xenolith', 16]]);
    case XENVER.compileInfo:
      return text([
        ['none', 64],
        ['xenolith', 16],
        ['localdomain', 32],
        ['none', 32],
      ]);
    case XENVER.capabilities:
      return text([['hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64 ', 1024]]);
    case XENVER.changeset:
      return text([['none', 64]]);
    case XENVER.platformParameters: {
      // virt_start of the hypervisor: an HVM guest has none.
      call.blank();
      return call.write(address, call.longSize) ? 0 : -EFAULT;
    }
    case XENVER.getFeatures: {
      const view = call.read(address, 8);
      if (view === undefined) return -EFAULT;
      const submap = view.getUint32(0, true);
      if (submap >= 2) return -EINVAL;
      view.setUint32(4, submap === 0 ? FEATURES : 0, true);
      return call.write(address, 8) ? 0 : -EFAULT;
    }
    case XENVER.pagesize:
      return PAGE_SIZE;
    case XENVER.guestHandle: {
      const view = call.blank();
      view.setUint8(15, call.host.domain.domid);
      return call.write(address, 16) ? 0 : -EFAULT;
    }
    case XENVER.commandline:
      return text([['', 1024]]);
    default:
      return -ENOSYS;
  }
}
