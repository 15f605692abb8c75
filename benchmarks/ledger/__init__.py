"""Does the ledger keep what it acknowledged, find what was changed, and cost little?"""
