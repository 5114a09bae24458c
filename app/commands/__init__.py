"""The commands, a module each: `COMMANDS` is the function of a command, or those of its sub-commands."""
