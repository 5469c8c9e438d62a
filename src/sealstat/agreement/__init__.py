"""What the parties agreed: model, approvals, who may do what, and how a log of statements is read. Pure."""
