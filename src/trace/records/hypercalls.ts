/** Hypercall names by number, as xenalyze prints them (index 11 is unused in Xen). */
const XENALYZE_HYPERCALLS: readonly (string | undefined)[] = [
  'set_trap_table',
  'mmu_update',
  'set_gdt',
  'stack_switch',
  'set_callbacks',
  'fpu_taskswitch',
  'sched_op(compat)',
  'platform_op',
  'set_debugreg',
  'get_debugreg',
  'update_descriptor',
  undefined,
  'memory_op',
  'multicall',
  'update_va_mapping',
  'set_timer_op',
  'evtchn_op(compat)',
  'xen_version',
  'console_io',
  'physdev_op(compat)',
  'grant_table_op',
  'vm_assist',
  'update_va_mapping_otherdomain',
  'iret',
  'vcpu_op',
  'set_segment_base',
  'mmuext_op',
  'acm_op',
  'nmi_op',
  'sched_op',
  'callback_op',
  'xenoprof_op',
  'evtchn_op',
  'physdev_op',
  'hvm_op',
  'sysctl',
  'domctl',
  'kexec_op',
];

/** Those that came later (public/xen.h). */
const LATER: Readonly<Record<number, string>> = { 38: 'tmem_op', 39: 'argo_op', 40: 'xenpmu_op', 41: 'dm_op', 42: 'hypfs_op' };

/** Name of a hypercall, or null. */
export const hypercallName = (op: number): string | null => XENALYZE_HYPERCALLS[op] ?? LATER[op] ?? null;

export const GRANT_TABLE_OPS = [
  'map_grant_ref',
  'unmap_grant_ref',
  'setup_table',
  'dump_table',
  'transfer',
  'copy',
  'query_size',
  'unmap_and_replace',
  'set_version',
  'get_status_frames',
  'get_version',
  'swap_grant_ref',
] as const;

export const VCPU_OPS = [
  'initialise',
  'up',
  'down',
  'is_up',
  'get_runstate_info',
  'register_runstate_memory_area',
  'set_periodic_timer',
  'stop_periodic_timer',
  'set_singleshot_timer',
  'stop_singleshot_timer',
  'register_vcpu_info',
  'send_nmi',
  'get_physid',
  'register_vcpu_time_memory_area',
] as const;

export const SCHED_OPS = ['yield', 'block', 'shutdown', 'poll', 'remote_shutdown', 'shutdown_code', 'watchdog'] as const;

const COMMANDS: Readonly<Record<number, readonly string[]>> = { 20: GRANT_TABLE_OPS, 24: VCPU_OPS, 29: SCHED_OPS };

/** Name of a hypercall's sub-operation, or null. */
export const commandName = (op: number, command: number): string | null => COMMANDS[op]?.[command] ?? null;
