"""What a probe costs, and how true what it keeps is."""
