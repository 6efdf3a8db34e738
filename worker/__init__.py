"""The heavy tier: RQ workers with their models resident in memory."""
