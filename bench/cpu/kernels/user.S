/* Entry of the program under an operating system. */
  .globl entry
entry:
  xor %ebp, %ebp
  and $-16, %rsp
  call start
  hlt
