import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

describe('XENOLITH_WITHOUT', () => {
  beforeEach(() => vi.resetModules());
  afterEach(() => vi.unstubAllEnvs());
  const withoutThese = (names: string): Promise<typeof import('./needs.ts')> => {
    vi.stubEnv('XENOLITH_WITHOUT', names);
    return import('./needs.ts');
  };

  it('takes what it names for absent, and the title says so', async () => {
    const { lackOf } = await withoutThese('bash,captures');
    const lack = await lackOf('bash');
    expect([lack.skip, lack.title('a test')]).toEqual([true, 'a test (skipped: bash is withheld)']);
    expect((await lackOf('captures')).reason).toBe('captures is withheld');
  });

  it('without x86, nothing makes or runs x86 programs for us', async () => {
    const { lackOf, withheld } = await withoutThese('x86');
    expect((await lackOf('gcc')).reason).toBe('gcc is withheld');
    expect([withheld('gcc-m32'), withheld('qemu')]).toEqual([true, false]);
  });

  it('names a need by itself: the first that is not met', async () => {
    const { lackOf } = await withoutThese('xenalyze,tshark');
    expect((await lackOf('tshark', 'xenalyze')).reason).toBe('tshark is withheld');
    const nothing = await lackOf();
    expect([nothing.skip, nothing.title('a test')]).toEqual([false, 'a test']);
  });

  it('refuses a name that is none, with those there are', async () => {
    await expect(withoutThese('gc')).rejects.toThrow(/'gc' is no need of a test; expected some of x86, gcc, /);
  });
});
