// Guards of the RTL8029; the tests are src/devices/nic/ne2k_pci/known-bugs.spec.ts.
const spec = 'src/devices/nic/ne2k_pci/known-bugs.spec.ts';
const nic = (name) => `src/devices/nic/ne2k_pci/${name}.ts`;
const core = 'src/devices/nic/ne2k_pci/core.spec.ts';

export default [
  { guard: 'pages behind the packet memory are not taken', file: nic('core'), spec, test: 'CVE-2007-1321', find: 'if (value > most) return;', replace: '' },
  { guard: 'CURR behind the packet memory starts at PSTART', file: nic('receive'), spec, test: 'CVE-2007-1321', find: 'if (at >= PMEM_END) at = start;', replace: '' },
  { guard: 'no byte of a frame behind PSTOP', file: nic('receive'), spec, test: 'CVE-2015-5278', find: 'if (at < stop) {', replace: '{' },
  { guard: 'a ring of no size is full', file: nic('receive'), spec, test: 'CVE-2016-2841', find: 'if (size <= 0) return true;', replace: '' },
  { guard: 'a frame that never fits does not wait', file: nic('receive'), spec, test: 'CVE-2016-2841', find: 'this.stop - this.start >= ROOM_NEEDED && ', replace: '' },
  { guard: 'a double word ends inside the packet memory', file: nic('remote'), spec, test: 'CVE-2015-8743', find: 'address + step <= PMEM_END', replace: 'address < PMEM_END' },
  { guard: 'a double word begins inside the packet memory', file: nic('remote'), spec, test: 'CVE-2015-8743', find: 'address >= PMEM_START && ', replace: '' },
  {
    guard: 'a frame size is whole, positive and bounded', file: nic('core'), spec, test: 'CVE-2018-10839',
    find: "if (!(length >= 0 && length <= MAX_FRAME && length <= frame.length)) return 'dropped';", replace: '',
  },
  { guard: 'a frame to send ends inside the packet memory', file: nic('core'), spec, test: 'CVE-2018-10839', find: 'at + length <= PMEM_END && ', replace: '' },
  { guard: 'no write without remote bytes left', file: nic('remote'), spec, test: 'a remote byte count of zero', find: 'if (state.rcnt === 0) return;', replace: '' },
  { guard: 'a busy chip takes no register write', file: nic('core'), spec, test: 'CVE-2021-3416 kind', find: 'if (this.busy || (size !== 1', replace: 'if ((size !== 1' },
  { guard: 'a busy chip gives no register', file: nic('core'), spec, test: 'CVE-2021-3416 kind', find: 'if (this.busy) return 0;', replace: '' },
  {
    guard: 'a busy chip takes no frame', file: nic('core'), spec, test: 'CVE-2021-3416 kind',
    find: "if (this.busy) {\n      this.offerAgain = true;\n      return 'refused';\n    }", replace: '',
  },
  {
    guard: 'the wire is asked again for what a busy chip refused', file: nic('core'), spec, test: 'CVE-2021-3416 kind',
    find: "this.offerAgain = true;\n      return 'refused';", replace: "return 'refused';",
  },
  {
    guard: 'a read of another size gives ones', file: nic('core'), spec, test: 'CVE-2020-13754 kind',
    find: 'if (size !== 1 && size !== 2 && size !== 4) return 0xffffffff;', replace: '',
  },
  {
    guard: 'a read outside the ports gives ones', file: nic('core'), spec, test: 'CVE-2020-13754 kind',
    find: 'if (!(offset >= 0 && offset + size <= NE2K_BLOCK_SIZE)) return widthMask(size);', replace: '',
  },
  {
    guard: 'a write outside the ports, or of another size, does nothing', file: nic('core'), spec, test: 'CVE-2020-13754 kind',
    find: '(size !== 1 && size !== 2 && size !== 4) || !(offset >= 0 && offset + size <= NE2K_BLOCK_SIZE)', replace: 'false',
  },
  { guard: 'nothing leaves with the cable out', file: nic('core'), spec: core, test: 'neither sends nor takes', find: ' && state.linkUp) {', replace: ') {' },
];
