"""What is done about a judgement: write it onto the run, and tell somebody."""
