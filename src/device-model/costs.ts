/**
 * What the device model's steps cost on a virtual clock, in nanoseconds. Declared, not measured: they make stage
 * times visible and strictly rising, and are shown as "modelled". Hypercalls are charged by the hypervisor.
 */
export const cost = {
  /** From the event to the private copy of the request: a wake-up is charged by whoever schedules. */
  takeRequest: 800,
  /** Data back, state, before the notification. */
  finishRequest: 400,
  bufferedSlot: 200,
  registerAccess: 300,
  configAccess: 500,
  /** A DMA access whose bucket is mapped. */
  mapCacheHit: 120,
  /** Entering a bucket into the cache, besides the hypercall. */
  mapCacheRemap: 3000,
  /** Moving 4 KiB of memory. */
  copyPage: 400,
  /** A frame handed to the wire or to the NIC. */
  frame: 1000,
} as const;
