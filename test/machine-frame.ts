/**
 * The log of a run without the machine frame in it, for runs whose guests live in other frames. The log names one: that of the
 * synchronous ioreq page, in one line. Throws when it is not one.
 */
export function withoutMachineFrame(log: string): string {
  const parts = log.split(
    /(?<=^# ioreq server 0: vCPU 0 has slot 0 of the synchronous page, )machine frame 0x[0-9a-f]+(?=, port \d+$)/m,
  );
  if (parts.length !== 2) throw new Error(`the log names the frame of the synchronous page ${parts.length - 1} times, not once`);
  return parts.join('machine frame');
}
