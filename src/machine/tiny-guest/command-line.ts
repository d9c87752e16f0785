/** What the tiny guest is told by its command line. */
export type TinyGuestMode =
  | { mode: 'ping'; count?: number }
  | { mode: 'answer'; count?: number }
  | { mode: 'buffered'; writes: number }
  | { mode: 'exits'; reads: number };

/** Command line for a mode: ping the host, be the host and answer, write to 0xb8000 and then to the NIC, or read a register of the NIC n times. */
export function tinyGuestCommandLine(options: TinyGuestMode): string {
  switch (options.mode) {
    case 'ping':
      return `ping=${options.count ?? 3}`;
    case 'answer':
      return `answer=${options.count ?? 3}`;
    case 'buffered':
      return `buffered=${options.writes}`;
    case 'exits':
      return `exits=${options.reads}`;
  }
}
