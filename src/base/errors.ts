/**
 * An error a user can mend: one line that says what is wrong, where, what was expected and how to mend it.
 * The command line prints the message alone (a stack trace only with --debug) and exits non-zero.
 */
export class UserError extends Error {
  override name = 'UserError';
}

/** The domain misbehaved in a way for which Xen destroys it; the host lives on. */
export class DomainCrash extends Error {
  override name = 'DomainCrash';
  readonly domid: number;

  constructor(domid: number, reason: string) {
    super(reason);
    this.domid = domid;
  }
}
