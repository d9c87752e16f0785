import { describe, expect, it } from 'vitest';
import { parseXlConfig } from './xl-cfg.ts';

describe('xl.cfg', () => {
  it('reads the keys of a guest', () => {
    const config = parseXlConfig(
      `# a guest
name = "ping"   # its name
type='hvm'
memory = 256
vcpus = 1; extra = "console=ttyS0 quiet"
kernel = '/boot/vmlinux'
vif = [
  'type=ioemu,model=rtl8139,mac=00:16:3e:00:00:01',  # one
]
serial = 'pty'
bootloader = "pygrub"
`,
      'g.cfg',
    );
    expect(config).toEqual({
      name: 'ping',
      type: 'hvm',
      memory: 256,
      vcpus: 1,
      extra: 'console=ttyS0 quiet',
      kernel: '/boot/vmlinux',
      hpet: true,
      vif: [{ model: 'rtl8139', mac: '00:16:3e:00:00:01' }],
      warnings: ["g.cfg:11: 'bootloader' is not understood here and has no effect"],
    });
  });

  it.each([
    ['vcpus = 2', 'g.cfg:1: vcpus = 2: only one vCPU is supported; write vcpus = 1'],
    ['\nmemory = "lots"', 'g.cfg:2: memory: expected a whole number'],
    ['name = "x', 'g.cfg:1: the string is not closed; expected " before the end of the line'],
    ['vif = ["mac=1"]', 'g.cfg:1: vif: mac=1: expected six hexadecimal bytes, like 00:16:3e:12:34:56'],
    ['vif = ["a"', "g.cfg:1: expected ',' or ']' in the list"],
    ['type = "pv"', "g.cfg:1: type = 'pv': expected 'hvm' or 'pvh'"],
    ['memory 5', "g.cfg:1: expected '=' after 'memory'"],
    ['= 5', 'g.cfg:1: expected a key, like memory = 128'],
  ])('refuses %j in one line', (text, message) => {
    expect(() => parseXlConfig(text, 'g.cfg')).toThrow(message);
  });

  it('refuses lists without end in one line', () => {
    expect(() => parseXlConfig(`x = ${'['.repeat(100_000)}`, 'g.cfg')).toThrow(
      'g.cfg:1: lists are nested more than 8 deep; expected a string or a number',
    );
  });
});
