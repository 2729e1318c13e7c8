"""What Balsam costs, measured on a whole system: real services in processes of their own, every commit durable."""
