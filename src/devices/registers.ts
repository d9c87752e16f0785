/** Registers as data. The hypervisor's own chips are declared the same way (src/abi/registers), so the types live in base. */
export * from '../base/registers.ts';
