/** Functions that generated code lends to TypeScript; interpreter/primitives.ts makes them. */
export interface Primitives {
  /** RFLAGS status bits now. */
  statusFlags(): number;
  /** Bulk memory: typed arrays over shared memory are slow at both. Machine addresses and lengths in bytes. */
  fill(address: number, value: number, length: number): void;
  copy(to: number, from: number, length: number): void;
}
