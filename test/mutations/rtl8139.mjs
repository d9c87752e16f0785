// biome-ignore-all format: a table, a row a line or a few
// Guards of the RTL8139 and of PCI functions; the tests are src/devices/nic/rtl8139/known-bugs.spec.ts.
const spec = 'src/devices/nic/rtl8139/known-bugs.spec.ts';
const nic = (name) => `src/devices/nic/rtl8139/${name}.ts`;
const offload = 'src/devices/nic/rtl8139/offload.spec.ts';
const core = 'src/devices/nic/rtl8139/core.spec.ts';
const cable = 'src/device-model/nic-port.spec.ts';
const lies = 'CVE-2015-5165 / XSA-140';

export default [
  {
    guard: 'IP header length at least 20', file: nic('offload'), spec, test: lies,
    find: 'if (headerLength < IP_HEADER_MIN) return size;', replace: '',
  },
  {
    guard: 'IP total length at least its header', file: nic('offload'), spec, test: lies,
    find: 'total < headerLength || total > size - ETH_HLEN', replace: 'total > size - ETH_HLEN',
  },
  {
    guard: 'IP total length inside the frame', file: nic('offload'), spec, test: lies,
    find: 'total < headerLength || total > size - ETH_HLEN', replace: 'total < headerLength',
  },
  {
    guard: 'large send: TCP data offset at least 20', file: nic('offload'), spec, test: lies,
    find: 'tcpHeader < TCP_HEADER_MIN || tcpHeader > dataLength', replace: 'tcpHeader > dataLength',
  },
  {
    guard: 'large send: TCP header inside the segment', file: nic('offload'), spec, test: lies,
    find: 'tcpHeader < TCP_HEADER_MIN || tcpHeader > dataLength', replace: 'tcpHeader < TCP_HEADER_MIN',
  },
  {
    guard: 'checksums: a TCP header inside the datagram', file: nic('offload'), spec: offload, test: 'inside the TCP header',
    find: '(tcp ? TCP_HEADER_MIN : UDP_HEADER)', replace: '(tcp ? 0 : UDP_HEADER)',
  },
  {
    guard: 'checksums: a UDP header inside the datagram', file: nic('offload'), spec: offload, test: 'inside the UDP header',
    find: '(tcp ? TCP_HEADER_MIN : UDP_HEADER)', replace: '(tcp ? TCP_HEADER_MIN : 0)',
  },
  {
    guard: 'large send: MSS not 0', file: nic('offload'), spec, test: 'Large send with MSS 0',
    find: 'if (mss === 0) return size;', replace: '',
  },
  {
    guard: 'a looped frame goes to the receiver instead of the wire', file: nic('core'), spec, test: 'CVE-2021-3416',
    find: 'this.receiver.receive(frame, length - inserted, false);\n      return;',
    replace: 'this.receiver.receive(frame, length - inserted, false);',
  },
  {
    guard: 'a busy chip takes no register write', file: nic('core'), spec, test: 'CVE-2021-3416',
    find: 'if (this.busy) return;', replace: '',
  },
  {
    guard: 'a busy chip takes no frame', file: nic('core'), spec, test: 'CVE-2021-3416',
    find: "if (this.busy) {\n      this.offerAgain = true;\n      return 'refused';\n    }", replace: '',
  },
  {
    guard: 'the wire is asked again for what a busy chip refused', file: nic('core'), spec, test: 'CVE-2021-3416',
    find: "this.offerAgain = true;\n      return 'refused';", replace: "return 'refused';",
  },
  {
    guard: 'at most 64 descriptors a doorbell', file: nic('transmit'), spec, test: 'C+ ring larger than 64',
    find: 'count < CPLUS_RING_SIZE && this.frames < MOST_FRAMES', replace: 'this.frames < MOST_FRAMES',
  },
  {
    guard: 'at most 16,384 frames before a doorbell ends', file: nic('transmit'), spec, test: 'Large sends cut into single bytes',
    find: 'this.frames < MOST_FRAMES && ', replace: '',
  },
  {
    guard: 'C+ frame clipped to its buffer', file: nic('transmit'), spec, test: 'C+ fragments',
    find: 'Math.min(command & CP_TX_SIZE_MASK, CPLUS_BUFFER_SIZE - state.cplusLength)', replace: 'command & CP_TX_SIZE_MASK',
  },
  {
    guard: 'size of a received frame not negative, not NaN', file: nic('core'), spec, test: 'CVE-2018-17958',
    find: '!(length >= 0 && length <= MAX_FRAME && ', replace: '!(length <= MAX_FRAME && ',
  },
  {
    guard: 'size of a received frame fits 16 bits', file: nic('core'), spec, test: 'CVE-2018-17958',
    find: 'length <= MAX_FRAME && ', replace: '',
  },
  {
    guard: 'size of a received frame is no more than its buffer', file: nic('core'), spec, test: 'CVE-2018-17958',
    find: ' && length <= frame.length', replace: '',
  },
  {
    guard: 'C+ receive buffer large enough', file: nic('receive'), spec, test: 'Receive into a descriptor',
    find: ' || size + CRC_SIZE > (command & CP_RX_SIZE_MASK)', replace: '',
  },
  {
    guard: 'C mode receive splits at the ring end', file: nic('receive'), spec, test: 'C mode receive',
    find: 'if (noWrap || length <= toEnd)', replace: 'if (true)',
  },
  {
    guard: 'C mode frame no larger than its ring', file: nic('receive'), spec, test: 'C mode receive',
    find: '      need > state.rxBufferSize ||\n', replace: '',
  },
  {
    guard: 'C mode without wrap: no more than 1.5 KiB behind the ring', file: nic('receive'), spec, test: 'C mode receive',
    find: '(noWrap && state.rxBufAddr + need > state.rxBufferSize + NO_WRAP_ROOM)', replace: 'false',
  },
  {
    guard: 'a 64 KiB ring wraps whatever the driver asks', file: nic('receive'), spec, test: 'C mode receive',
    find: 'state.rxBufferSize < 65536 && ', replace: '',
  },
  {
    guard: 'timer catches up all turns at once', file: nic('core'), spec, test: 'Timer with TimerInt far in the past',
    find: 'turns * TIMER_WRAP_NS', replace: 'TIMER_WRAP_NS',
  },
  {
    guard: 'a reset forgets a half-gathered frame', file: nic('core'), spec, test: 'Reset in the middle of a packet',
    find: 'state.cplusLength = 0;', replace: '',
  },
  {
    guard: 'a busy chip takes no register write from its own DMA', file: nic('core'), spec, test: 'CVE-2021-3750',
    find: 'if (this.busy) return;', replace: '',
  },
  {
    guard: 'a busy chip answers no register read from its own DMA', file: nic('core'), spec, test: 'CVE-2021-3750',
    find: 'if (this.busy) return 0;', replace: '',
  },
  {
    guard: 'register reads of odd sizes', file: 'src/devices/register-file.ts', spec, test: 'CVE-2020-13754',
    find: 'if (size !== 1 && size !== 2 && size !== 4) return 0xffffffff;', replace: '',
  },
  {
    guard: 'register writes of odd sizes', file: 'src/devices/register-file.ts', spec, test: 'CVE-2020-13754',
    find: 'if (size !== 1 && size !== 2 && size !== 4) return;', replace: '',
  },
  {
    guard: 'reads past the register block', file: 'src/devices/register-file.ts', spec, test: 'CVE-2020-13754',
    find: 'if (offset + size > this.blockSize) return widthMask(size);', replace: '',
  },
  {
    guard: 'no DMA read with bus mastering off', file: 'src/devices/pci/pci-device.ts', spec, test: 'Bus master off',
    find: 'if (this.busMaster) return this.slot', replace: 'return this.slot',
  },
  {
    guard: 'no DMA write with bus mastering off', file: 'src/devices/pci/pci-device.ts', spec, test: 'Bus master off',
    find: 'return this.busMaster && this.slot', replace: 'return this.slot',
  },
  {
    guard: 'bus mastering is looked at anew for each DMA access', file: 'src/devices/pci/pci-device.ts', spec, test: 'XSA-126',
    find: 'if (this.busMaster) return this.slot', replace: 'return this.slot',
  },
  {
    guard: 'a full C mode ring never looks empty', file: nic('receive'), spec: core,
    test: 'rtl8139 counts whole words of the C mode ring',
    find: 'alignWord(need) >= available', replace: 'need >= available',
  },
  {
    guard: 'a frame that can wait is not lost', file: nic('receive'), spec: core,
    test: 'rtl8139 loses and counts no frame that can wait',
    find: "return 'refused';\n    }", replace: '}',
  },
  {
    guard: 'a driver whose ring is full is told', file: nic('receive'), spec: core,
    test: 'rtl8139 loses and counts no frame that can wait',
    find: 'if (!(regs.values[R.IntrStatus]! & INT_RX_OVERFLOW)) this.chip.interrupt(INT_RX_OVERFLOW);', replace: '',
  },
  {
    guard: 'a wire is paused no longer than a PAUSE frame can', file: 'src/device-model/nic-port.ts', spec: cable,
    test: 'a NIC without room holds the wire',
    find: 'this.expired = true;', replace: '',
  },
  {
    guard: 'frames that pile up are told of again', file: 'src/device-model/nic-port.ts', spec: cable,
    test: 'a NIC without room is asked again',
    find: 'this.nic.remind();', replace: '',
  },
  {
    guard: 'CSCR tells of the cable', file: nic('core'), spec: core, test: "rtl8139 tells the cable's going",
    find: 'values[R.CSCR]! |= LINK_CHANGE;', replace: ';',
  },
];
