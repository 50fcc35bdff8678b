"""What subcommands share: arguments, and what goes in and comes out."""
