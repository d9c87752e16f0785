/** Registers as data; the hypervisor's own chips are declared the same way, so the types live in base. */
export * from '../base/registers.ts';
export { widthMask } from '../base/width.ts';
