// Guards of the Am79C970A; the tests are src/devices/nic/pcnet/known-bugs.spec.ts.
const spec = 'src/devices/nic/pcnet/known-bugs.spec.ts';
const nic = (name) => `src/devices/nic/pcnet/${name}.ts`;
const sweep = 'src/devices/nic/pcnet/sweep.spec.ts';

export default [
  {
    guard: 'a frame to send stays inside the buffer', file: nic('transmit'), spec, test: 'CVE-2015-3209',
    find: 'if (this.position + count > BUFFER_SIZE - FCS_SIZE) {', replace: 'if (false) {',
  },
  { guard: 'four bytes of the buffer stay free for the check sequence', file: nic('transmit'), spec, test: 'CVE-2015-7504', find: 'BUFFER_SIZE - FCS_SIZE) {', replace: 'BUFFER_SIZE) {' },
  {
    guard: 'a received frame is cut to the buffer', file: nic('receive'), spec, test: 'CVE-2015-7512',
    find: 'size = Math.min(size, BUFFER_SIZE - FCS_SIZE);', replace: '',
  },
  { guard: 'a ring length of 0 means 512', file: nic('core'), spec, test: 'CVE-2016-7909', find: 'value === 0 ? MOST_DESCRIPTORS : value', replace: 'value' },
  { guard: 'a ring length of 0 means 512 (sweep)', file: nic('core'), spec: sweep, test: 'pcnet register sweep', find: 'value === 0 ? MOST_DESCRIPTORS : value', replace: 'value' },
  {
    guard: 'a search for a descriptor goes once round the ring', file: nic('receive'), spec, test: 'CVE-2016-7909',
    find: 'n > 0; n--, counter--', replace: 'n > -2000; n--, counter--',
  },
  { guard: 'a walk ends after 65,536 descriptor reads', file: nic('transmit'), spec, test: 'rings of 65,535', find: ' && chip.descriptorReads < MOST_DESCRIPTOR_READS', replace: '' },
  { guard: 'descriptor reads are counted', file: nic('descriptor'), spec, test: 'rings of 65,535', find: 'chip.descriptorReads++;', replace: '' },
  {
    guard: 'a walk goes once round the transmit ring', file: nic('transmit'), spec, test: 'transmit descriptors without an end',
    find: 'count > 0 && chip', replace: 'chip',
  },
  { guard: 'an underflow goes once round the transmit ring', file: nic('transmit'), spec, test: 'a frame cut short', find: 'count > 0 && chip', replace: 'chip' },
  { guard: 'a transmission begins without bytes', file: nic('transmit'), spec, test: 'no bytes of a frame begun', find: 'this.position = 0;\n', replace: 'this.position = 40;\n' },
  {
    guard: 'a walk under way starts no other', file: nic('core'), spec, test: 'CVE-2021-3416',
    find: 'if (wanted && !this.transmitter.busy)', replace: 'if (wanted)',
  },
  { guard: 'a busy chip takes no port write', file: nic('core'), spec, test: 'CVE-2021-3416', find: 'if (this.busy || (size !== 1', replace: 'if ((size !== 1' },
  {
    guard: 'a busy chip takes no frame', file: nic('core'), spec, test: 'CVE-2021-3416',
    find: "if (this.busy) {\n      this.offerAgain = true;\n      return 'refused';\n    }", replace: '',
  },
  { guard: 'a busy chip gives no port', file: nic('core'), spec, test: 'CVE-2021-3750', find: 'if (this.busy) return 0;', replace: '' },
  {
    guard: 'the poll timer keeps to 100 µs', file: nic('core'), spec, test: 'a polling interval of one tick',
    find: 'if (this.state.pollAtNs >= 0 && this.state.pollAtNs < soonest) this.armPoll(soonest);', replace: '',
  },
  {
    guard: 'a frame size is whole, positive and bounded', file: nic('core'), spec, test: 'a frame of an impossible size',
    find: "if (!(length >= 0 && length <= frame.length)) return 'dropped';", replace: '',
  },
  {
    guard: 'a read of another size gives ones', file: nic('core'), spec, test: 'CVE-2020-13754 kind',
    find: 'if (size !== 1 && size !== 2 && size !== 4) return 0xffffffff;', replace: '',
  },
  {
    guard: 'a read outside the ports gives ones', file: nic('core'), spec, test: 'CVE-2020-13754 kind',
    find: 'if (!(offset >= 0 && offset + size <= PCNET_BLOCK_SIZE)) return widthMask(size);', replace: '',
  },
  {
    guard: 'a write outside the ports, or of another size, does nothing', file: nic('core'), spec, test: 'CVE-2020-13754 kind',
    find: '(size !== 1 && size !== 2 && size !== 4) || !(offset >= 0 && offset + size <= PCNET_BLOCK_SIZE)', replace: 'false',
  },
];
