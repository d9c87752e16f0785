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
      bootsFrom: [],
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
    ['type = "pv"', "g.cfg:1: type = 'pv': a paravirtual guest, which this machine does not run; expected type = 'hvm' or 'pvh'"],
    ['memory 5', "g.cfg:1: expected '=' or '+=' after 'memory'"],
    ['= 5', 'g.cfg:1: expected a key, like memory = 128'],
  ])('refuses %j in one line', (text, message) => {
    expect(() => parseXlConfig(text, 'g.cfg')).toThrow(message);
  });

  it('refuses lists without end in one line', () => {
    expect(() => parseXlConfig(`x = ${'['.repeat(100_000)}`, 'g.cfg')).toThrow(
      'g.cfg:1: lists are nested more than 8 deep; expected a string or a number',
    );
  });

  /** What is taken of a file with type = 'hvm' and these lines, and what is said of it. */
  const hvm = (text: string, overrides = {}) => parseXlConfig(`type = 'hvm'\n${text}`, 'g.cfg', overrides);

  it.each([
    // cmdline, root and extra (xl_parse.c, parse_cmdline).
    ["cmdline = 'console=ttyS0 quiet'", 'console=ttyS0 quiet'],
    [
      "cmdline = 'a'\nextra = 'b'\nroot = '/dev/c'",
      'a',
      'g.cfg:2: cmdline is the whole command line: root and extra are left out, as xl leaves them out',
    ],
    ["root = '/dev/c'\ncmdline = ''", '', 'g.cfg:3: cmdline is the whole command line: root is left out, as xl leaves it out'],
    ["extra = 'b'\nroot = '/dev/c'", 'root=/dev/c b'],
    ["root = '/dev/c'", 'root=/dev/c'],
    ["extra = 'b'", 'b'],
    ['extra = 5', '5'],
    // Escapes (libxlu_cfg.c, xlu__cfgl_dequote).
    [String.raw`extra = 'path=a\\b'`, String.raw`path=a\b`],
    [String.raw`extra = 'a\'b'`, "a'b"],
    [String.raw`extra = "a\"b'c"`, 'a"b\'c'],
    [String.raw`extra = 'a\tb\x41\101\0'`, 'a\tbAA\0'],
    ["extra = 'a # no comment' # a comment", 'a # no comment'],
    // += (libxlu_cfg_y.y).
    ["extra = 'a'\nextra += ' b'\nextra += ' c'", 'a b c'],
    ["extra += 'a'", 'a'],
    ["extra = 'a'\nextra = 'b'", 'b', "g.cfg:3: 'extra' was given in line 2 already; this one counts"],
  ])('%j gives a command line', (text, extra, ...warnings) => {
    expect(hvm(text)).toMatchObject({ extra, warnings });
  });

  it.each([
    ['64', 64],
    ['0100', 64],
    ['0x40', 64],
    ['0X40', 64],
    ['"64"', 64],
    ["'0100'", 64],
    ["'0x40'", 64],
    ['64;vcpus=1', 64],
    ['64 # MiB', 64],
  ])('memory = %s', (text, memory) => {
    expect(hvm(`memory = ${text}`).memory).toBe(memory);
  });

  it.each(['09', '1e3', '64M', '"64 MiB"', "''", '0x', '1.5', '--1', '0b11'])('memory = %s is no number', (text) => {
    expect(() => hvm(`memory = ${text}`)).toThrow(
      /^g\.cfg:2: .*(?:expected a whole number|expected a value|expected the end of the line)/,
    );
  });

  it('adds lists', () => {
    const { vif } = hvm(
      "vif = [ 'model=rtl8139' ]\nvif += [ 'model=rtl8139,mac=00:16:3e:0a:0b:0c', ]\nvif += [\n'',\n # none\n ]",
    );
    expect(vif).toEqual([{ model: 'rtl8139' }, { model: 'rtl8139', mac: '00:16:3e:0a:0b:0c' }, { model: 'rtl8139' }]);
  });

  it.each([
    [
      "vif = ['a']\nvif += 'b'",
      'g.cfg:3: vif +=: the value is no list, that of line 2 is one; expected two strings or two lists',
    ],
    ["extra = 'a'\nextra += ['b']", 'g.cfg:3: extra +=: the value is a list, that of line 2 is none'],
    [String.raw`extra = 'C:\disk'`, String.raw`g.cfg:2: \d in a string: expected one of \\ \' \"`],
    [String.raw`extra = '\x4'`, String.raw`g.cfg:2: \x in a string: expected one of`],
    [String.raw`extra = 'a\'`, 'g.cfg:2: the string is not closed'],
    ["extra = ['a']", 'g.cfg:2: extra: a list; expected a string in quotes'],
    ['extra -= 5', "g.cfg:2: expected '=' or '+=' after 'extra'"],
    ['kernel = 5', 'g.cfg:2: kernel: expected a string in quotes'],
    ['vif = [5]', "g.cfg:2: vif: expected a list of strings, like ['type=ioemu,model=rtl8139']"],
    ["vif = ['a' 'b']", "g.cfg:2: expected ',' or ']' in the list"],
    ["vif = ['a'; 'b']", "g.cfg:2: expected ',' or ']' in the list"],
    ['memory = 8192', 'g.cfg:2: memory = 8192: expected a whole number of MiB from 4 to 3840'],
    ['memory = 03', 'g.cfg:2: memory = 3: expected a whole number of MiB from 4 to 3840'],
  ])('%j is refused in one line', (text, message) => {
    expect(() => hvm(text)).toThrow(message);
  });

  it('does not look at a value that an option overrules', () => {
    expect(hvm('memory = 8192', { memory: 64 }).memory).toBe(64);
    expect(hvm("memory = 'much'", { memory: 64 })).toMatchObject({ memory: 64, warnings: [] });
  });

  it.each([
    ["type = 'pv'", "g.cfg:1: type = 'pv': a paravirtual guest, which this machine does not run; expected type = 'hvm' or 'pvh'"],
    ["builder = 'generic'", "g.cfg:1: builder = 'generic': a paravirtual guest"],
    ["builder = 'linux'", "g.cfg:1: builder = 'linux': a paravirtual guest"],
    ["builder = 'xen'", "g.cfg:1: builder = 'xen': expected 'hvm'"],
    ["type = 'hvm2'", "g.cfg:1: type = 'hvm2': expected 'hvm' or 'pvh'"],
    ['<?xml version="1.0"?>\n<domain type="xen">', 'g.cfg: XML, as libvirt has it'],
    ["<domain type='xen'>", 'g.cfg: XML, as libvirt has it'],
    ['{\n "domid": 5 }', 'g.cfg: JSON (xl list -l prints it)'],
    ['[\n {"domid": 5 }]', 'g.cfg: JSON (xl list -l prints it)'],
  ])('%j is another kind of guest or of file', (text, message) => {
    expect(() => parseXlConfig(text, 'g.cfg')).toThrow(message);
  });

  it.each([
    ["type = 'pvh'", 'pvh', []],
    ['pvh = 1', 'pvh', []],
    ["builder = 'hvm'", 'hvm', []],
    ["type = 'hvm'\nbuilder = 'generic'", 'hvm', []],
    [
      'vcpus = 1',
      'hvm',
      ["g.cfg: no type is given, which xl takes for a paravirtual guest; it is run as type = 'hvm', so write that"],
    ],
  ])('%j', (text, type, warnings) => {
    expect(parseXlConfig(text, 'g.cfg')).toMatchObject({ type, warnings });
  });

  it.each([
    ["disk = ['phy:/dev/vg0/a,hda,w']\nboot = 'dc'", ['disk', 'boot'], []],
    ["boot = 'n'", ['boot'], []],
    ["bootloader = 'pygrub'", ['bootloader'], []],
    ["firmware = 'uefi'", ['firmware'], []],
    ["kernel = 'vmlinuz'\ndisk = ['a']\nboot = 'c'", [], ["g.cfg:3: 'disk' is not understood here and has no effect"]],
    [
      "kernel = '/usr/lib/xen-4.17/boot/hvmloader'",
      ['disk'],
      [
        "g.cfg:2: kernel = '/usr/lib/xen-4.17/boot/hvmloader' is the firmware of a guest, not its kernel; it is ignored, as xl ignores it",
      ],
    ],
    ["kernel = 'hvmloader'", ['disk'], [expect.stringContaining('it is ignored')]],
    ["kernel = '/boot/my-hvmloader-kernel'", [], []],
  ])('%j: what xl would boot', (text, bootsFrom, warnings) => {
    expect(hvm(text)).toMatchObject({ bootsFrom, warnings });
  });
});
