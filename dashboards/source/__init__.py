"""What the dashboards show: one module per dashboard, and what they share."""
