"""What is special to Llama 4: geometry, module groups, miniature, pictures, torch side."""
