/**
 * The device model's log as a catalogue: every line that concerns requests, the map cache, ranges and PCI functions, in the words
 * of QEMU's trace-events files (hw/i386/xen, later hw/xen; hw/pci; softmmu, later system). The device model writes its log from these
 * declarations, and the trace reader reads logs by them. A chip's own lines stand beside the chip (devices/nic/<chip>/log.ts).
 */
import { event, plain } from '../base/log-line.ts';

const QEMU = 'QEMU 2.3 and later';
/** Since configuration accesses come as requests of their own. */
const CONFIG = 'QEMU 3.1 and later';
const OWN = 'Xenolith';

/** A request as it comes; `dir` 0 writes, 1 reads. */
export const handleIoreq = event(
  QEMU,
  'handle_ioreq I/O={req:p} type={type:d} dir={dir:d} df={df:d} ptr={ptr:d} port=0x{port:x} data=0x{data:q} count={count:d} size={size:d}',
);
/** A read's answer, when it has been served. */
export const handleIoreqRead = event(
  QEMU,
  'handle_ioreq_read I/O={req:p} read type={type:d} df={df:d} ptr={ptr:d} port=0x{port:x} data=0x{data:q} count={count:d} size={size:d}',
  {
    by: 'a mail that cut the line',
    text: 'handle_ioreq_read I/O={req:p} read type={type:d} df={df:d} ptr={ptr:d} port=0x{port:x} data=0x{data:q}',
  },
);
/** A write, before it is served. */
export const handleIoreqWrite = event(
  QEMU,
  'handle_ioreq_write I/O={req:p} write type={type:d} df={df:d} ptr={ptr:d} port=0x{port:x} data=0x{data:q} count={count:d} size={size:d}',
);
export const cpuIoreqPio = event(
  QEMU,
  'cpu_ioreq_pio I/O={req:p} pio dir={dir:d} df={df:d} ptr={ptr:d} port=0x{port:x} data=0x{data:q} count={count:d} size={size:d}',
);
export const cpuIoreqPioReadReg = event(
  QEMU,
  'cpu_ioreq_pio_read_reg I/O={req:p} pio read reg data=0x{data:q} port=0x{port:x} size={size:d}',
);
export const cpuIoreqPioWriteReg = event(
  QEMU,
  'cpu_ioreq_pio_write_reg I/O={req:p} pio write reg data=0x{data:q} port=0x{port:x} size={size:d}',
);
export const cpuIoreqMove = event(
  QEMU,
  'cpu_ioreq_move I/O={req:p} copy dir={dir:d} df={df:d} ptr={ptr:d} port=0x{port:x} data=0x{data:q} count={count:d} size={size:d}',
);
export const cpuIoreqConfigRead = event(
  CONFIG,
  'cpu_ioreq_config_read I/O={req:p} sbdf=0x{sbdf:x} reg={reg:d} size={size:d} data=0x{data:x}',
);
export const cpuIoreqConfigWrite = event(
  CONFIG,
  'cpu_ioreq_config_write I/O={req:p} sbdf=0x{sbdf:x} reg={reg:d} size={size:d} data=0x{data:x}',
);
/** The one line a request has in older device models (`DEBUG_XEN`); it does not tell the direction. */
export const plainRequest = plain(
  'qemu-dm and QEMU up to 2.2',
  'xen: I/O request: {type:x}, ptr: {ptr:d}, port: {port:x}, data: {data:q}, count: {count:d}, size: {size:d}',
);

const NO_PREFIX = 'QEMU up to 2.8, for zero';
/** The device model asks its map cache for a guest-physical address. */
export const xenMapCache = event(QEMU, 'xen_map_cache want 0x{gpa:x}', { by: NO_PREFIX, text: 'xen_map_cache want {gpa:x}' });
/** Where that address is in the device model's own mapping; `(nil)`: nowhere. */
export const xenMapCacheReturn = event(QEMU, 'xen_map_cache_return {pointer:p}');
/** A miss: the bucket is mapped anew. */
export const xenRemapBucket = event(QEMU, 'xen_remap_bucket index 0x{index:x}', {
  by: NO_PREFIX,
  text: 'xen_remap_bucket index {index:x}',
});

/** The device whose handler ran, and the address it saw: an offset, or the port for a BAR that is an alias of ports. */
export const memoryRegionOpsRead = event(
  'QEMU 6.2 and later',
  "memory_region_ops_read cpu {cpu:d} mr {mr:p} addr 0x{addr:x} value 0x{value:q} size {size:d} name '{name:n}'",
  {
    by: 'QEMU up to 6.1',
    text: 'memory_region_ops_read cpu {cpu:d} mr {mr:p} addr 0x{addr:x} value 0x{value:q} size {size:d}',
  },
);
export const memoryRegionOpsWrite = event(
  'QEMU 6.2 and later',
  "memory_region_ops_write cpu {cpu:d} mr {mr:p} addr 0x{addr:x} value 0x{value:q} size {size:d} name '{name:n}'",
  {
    by: 'QEMU up to 6.1',
    text: 'memory_region_ops_write cpu {cpu:d} mr {mr:p} addr 0x{addr:x} value 0x{value:q} size {size:d}',
  },
);

const BDF = 'QEMU 7.0 and later';
export const pciCfgRead = event(BDF, 'pci_cfg_read {name:w} {bdf:w} @0x{reg:x} -> 0x{value:x}');
export const pciCfgWrite = event(BDF, 'pci_cfg_write {name:w} {bdf:w} @0x{reg:x} <- 0x{value:x}');
/** The device model placed a BAR. Up to 6.2 the line names an object's address instead of the device. */
export const pciUpdateMappingsAdd = event(BDF, 'pci_update_mappings_add {name:w} {bdf:w} {bar:d},0x{base:x}+0x{size:x}', {
  by: 'QEMU up to 6.2',
  text: 'pci_update_mappings_add d={device:p} {bdf:w} {bar:d},0x{base:x}+0x{size:x}',
});
export const pciUpdateMappingsDel = event(BDF, 'pci_update_mappings_del {name:w} {bdf:w} {bar:d},0x{base:x}+0x{size:x}', {
  by: 'QEMU up to 6.2',
  text: 'pci_update_mappings_del d={device:p} {bdf:w} {bar:d},0x{base:x}+0x{size:x}',
});

export const xenIoreqServerCreate = event(QEMU, 'xen_ioreq_server_create id: {id:d}');
export const xenIoreqServerDestroy = event(QEMU, 'xen_ioreq_server_destroy id: {id:d}');
export const xenIoreqServerState = event(QEMU, 'xen_ioreq_server_state id: {id:d}: enable: {enable:d}');
export const xenMapMmioRange = event(QEMU, 'xen_map_mmio_range id: {id:d} start: 0x{start:x} end: 0x{end:x}');
export const xenUnmapMmioRange = event(QEMU, 'xen_unmap_mmio_range id: {id:d} start: 0x{start:x} end: 0x{end:x}');
export const xenMapPortioRange = event(QEMU, 'xen_map_portio_range id: {id:d} start: 0x{start:x} end: 0x{end:x}');
export const xenUnmapPortioRange = event(QEMU, 'xen_unmap_portio_range id: {id:d} start: 0x{start:x} end: 0x{end:x}');
export const xenMapPcidev = event(QEMU, 'xen_map_pcidev id: {id:d} bdf: {bus:x2}.{dev:x2}.{func:x2}');

/** The first line of a log: which clock it has, and which of its times (seconds since 1970) is TSC 0. */
export const clockHeader = plain(OWN, '# device-model log, clock: {clock:w}, TSC 0 at {seconds:w}, {hz:w} Hz', {
  by: OWN,
  text: '# device-model log, clock: {clock:w}',
});
/** Where a vCPU's slot is: a machine frame of the synchronous ioreq page, and a port of the device model's domain. */
export const ioreqServerSlot = plain(
  OWN,
  '# ioreq server {server:d}: vCPU {vcpu:d} has slot {slot:d} of the synchronous page, machine frame 0x{mfn:x}, port {port:d}',
);

/** Every line of the catalogue, for whoever looks at all of them. */
export const dmLogLines = [
  handleIoreq,
  handleIoreqRead,
  handleIoreqWrite,
  cpuIoreqPio,
  cpuIoreqPioReadReg,
  cpuIoreqPioWriteReg,
  cpuIoreqMove,
  cpuIoreqConfigRead,
  cpuIoreqConfigWrite,
  plainRequest,
  xenMapCache,
  xenMapCacheReturn,
  xenRemapBucket,
  memoryRegionOpsRead,
  memoryRegionOpsWrite,
  pciCfgRead,
  pciCfgWrite,
  pciUpdateMappingsAdd,
  pciUpdateMappingsDel,
  xenIoreqServerCreate,
  xenIoreqServerDestroy,
  xenIoreqServerState,
  xenMapMmioRange,
  xenUnmapMmioRange,
  xenMapPortioRange,
  xenUnmapPortioRange,
  xenMapPcidev,
  clockHeader,
  ioreqServerSlot,
];
